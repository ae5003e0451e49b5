from pathlib import Path
from typing import Any

import pytest

from jobs.hosted import runs
from tests import hosted


@pytest.fixture(autouse=True)
def stand_in(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program that stands in for the engine, and a registered kind of work."""
    for name, value in hosted.install_stand_in(tmp_path).items():
        setattr(settings, name, Path(value))
    monkeypatch.setitem(runs.KINDS, "test", hosted.KIND)
    return tmp_path
