"""Run our commands as processes, on the test's database and Valkey."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.db import connection
from psycopg.conninfo import make_conninfo

ROOT = Path(__file__).resolve().parent.parent


def until(true: Callable[[], object], *, seconds: float = 60) -> None:
    """Wait until a condition that another process fulfils."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {true}")
        time.sleep(0.05)


def environment() -> dict[str, str]:
    """Return the environment for a child on this test's database and Valkey."""
    database = connection.settings_dict["NAME"]
    return os.environ | {
        "DATABASE_URL": make_conninfo(os.environ["DATABASE_URL"], dbname=database),
        "REDIS_URL": settings.REDIS_URL,
        "FOCUS_TESTING": "1",
        "MEDIA_ROOT": str(settings.MEDIA_ROOT),
        "FILES_LEAST_FREE_BYTES": str(settings.FILES_LEAST_FREE_BYTES),
        "RATE_LIMIT_SCALE": "1000000",
        # A busy machine is not a dead Redis.
        "RATE_LIMIT_TIMEOUT_SECONDS": "20",
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def running(*command: str, log: Path, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m command` in its own process group; kill it after the block.

    `more` is added to the environment.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=environment() | more,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Send SIGKILL to the process and its children, and wait for it."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Return whether a server listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
