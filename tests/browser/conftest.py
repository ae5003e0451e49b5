"""The server in its own process, for a browser."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import googling, processes


@pytest.fixture
def web(tmp_path: Path, transactional_db: None) -> Iterator[str]:
    """Start our server on the test's database and yield its address."""
    with serving(tmp_path) as address:
        yield address


@pytest.fixture
def web_with_google(
    tmp_path: Path, transactional_db: None, google: str
) -> Iterator[str]:
    """Like `web`, with a stand-in process for Google."""
    with serving(tmp_path, **googling.environment(google)) as address:
        yield address


@contextmanager
def serving(folder: Path, **environment: str) -> Iterator[str]:
    port = processes.free_port()
    log = folder / "log"
    with processes.running("focus.server", log=log, PORT=str(port), **environment):
        processes.until(lambda: _is_up(port), seconds=60)
        yield f"http://localhost:{port}"


def _is_up(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
