"""A command with an empty home, and servers with scripted responses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doors.cli.tools import Cli, Scripted


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    home = tmp_path / "home"
    home.mkdir()
    return Cli(home)


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    yield from _serve()


@pytest.fixture
def stranger() -> Iterator[Scripted]:
    yield from _serve()


def _serve() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.stop()
