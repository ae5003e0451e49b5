"""Fixtures of the engine's tests; in CI a skipped test fails the run."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from media import weights
from media.photos import learned
from media.photos.files import Pixels
from media.tests import photo_sets


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    report = yield
    if report.skipped and os.environ.get("FOCUS_CI"):
        report.outcome = "failed"
        report.longrepr = "CI installs what this test needs, so it must not skip."
    return report


@pytest.fixture
def astronaut() -> Pixels:
    return photo_sets.colour()["astronaut"][:384, :384].copy()


@pytest.fixture
def forget_networks() -> Iterator[None]:
    """Look every model up anew, before and after the test."""
    caches = (weights.locate, learned._network)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.fixture
def forged_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget_networks: None
) -> Path:
    """A mirror with files that have one byte more than the real ones."""
    for model in weights.MODELS.values():
        for real, file in zip(weights.locate(model.name), model.files, strict=True):
            forged = tmp_path / "mirror" / model.package / file.path
            forged.parent.mkdir(parents=True, exist_ok=True)
            forged.write_bytes(real.read_bytes() + b"\n")
    weights.locate.cache_clear()
    monkeypatch.setenv("FOCUS_MODEL_DIR", str(tmp_path / "mirror"))
    return tmp_path / "mirror"
