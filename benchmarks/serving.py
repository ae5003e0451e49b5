"""The servers that the benchmarks start, each with its end."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parent.parent
SERVERS = {
    "focus.server": "-m focus.server",
    "gunicorn": "-m gunicorn focus.wsgi:application --bind 127.0.0.1:{port}"
    " --workers 2 --worker-class gthread --threads {threads} --keep-alive 60",
}
MEDIA_WORKER = (
    "-W ignore -m celery --quiet -A focus.celery worker -Q media -n media@%h"
    " -P threads --concurrency 1"
)


@contextmanager
def web(server: str, *, threads: int, workers: int = 2) -> Iterator[int]:
    """Run a web server; gives its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = SERVERS[server].format(port=port, threads=threads)
    more = {
        "PORT": str(port),
        "WEB_WORKERS": str(workers),
        "WEB_THREADS": str(threads),
        "WEB_ACCESS_LOG": "0",
        "WEB_CONNECTIONS_PER_ADDRESS": "10000",
    }
    with _process(command, more) as (process, log):
        _wait_for(port, process, log)
        yield port


@contextmanager
def media_worker() -> Iterator[int]:
    """Run a media worker; gives its process id."""
    with _process(MEDIA_WORKER, {}) as (process, _):
        yield process.pid


@contextmanager
def _process(
    command: str, more: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], IO[Any]]]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 — the command is ours
            [sys.executable, *command.split()],
            env={**os.environ, "FOCUS_TESTING": "1", **more},
            stdout=log,
            stderr=log,
            cwd=ROOT,
        )
        try:
            yield process, log
        finally:
            process.terminate()
            process.wait(60)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: IO[Any]) -> None:
    for _ in range(300):
        if process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                return
            except OSError:
                time.sleep(0.1)
    log.seek(0)
    raise SystemExit(f"The web server did not start:\n{log.read().decode()[-2000:]}")
