from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from tests import restorations


@pytest.fixture
def engine(tmp_path: Path, settings: Any) -> Path:
    """A program that stands in for the media engine, and a folder for files."""
    settings.MEDIA_ROOT = tmp_path / "files"
    for name, value in restorations.install_stand_in(tmp_path).items():
        setattr(settings, name, value)
    return tmp_path


@pytest.fixture
def as_owner(alice: User, engine: Path) -> APIClient:
    """alice, signed in to reviv."""
    return restorations.bearer(alice)


@pytest.fixture
def as_other(bob: User, engine: Path) -> APIClient:
    return restorations.bearer(bob)
