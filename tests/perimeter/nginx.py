"""The real nginx, with the configuration that docker-compose.yml mounts."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import processes

CONFIGURATION = processes.ROOT / "deploy" / "nginx"
LOCATIONS = ("nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx")


def binary() -> str:
    """Return nginx's path. Without nginx the test skips, and fails in CI."""
    found = next(filter(None, map(shutil.which, LOCATIONS)), None)
    if found is None:
        if os.environ.get("CI") or os.environ.get("FOCUS_CI"):
            pytest.fail("CI has no nginx: its tests must not be skipped.")
        pytest.skip("nginx is not installed (apt-get install nginx-light)")
    return str(found)


@dataclass
class Proxy:
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def proxy(
    folder: Path, web: int, *, listen: str = "http", files: dict[str, str] | None = None
) -> Iterator[Proxy]:
    """Run nginx in front of the web server at port `web`.

    Only ports, addresses and secret files differ from the configuration in deploy/.
    """
    nginx = binary()
    home = folder / "etc"
    shutil.copytree(CONFIGURATION, home)
    (folder / "run").mkdir(exist_ok=True)
    port, plain = processes.free_port(), processes.free_port()
    upstream = (home / "upstream.conf").read_text()
    assert "server web:8000;" in upstream
    (home / "upstream.conf").write_text(
        upstream.replace("web:8000", f"127.0.0.1:{web}")
    )
    listener = (home / f"{listen}.conf").read_text()
    ports = {"8443": port, "8080": plain} if listen == "https" else {"8080": port}
    for theirs, ours in ports.items():
        listener = listener.replace(f"listen [::]:{theirs} ", f"# listen {theirs} ")
        listener = listener.replace(f"listen {theirs} ", f"listen 127.0.0.1:{ours} ")
    for theirs_file, ours_file in (files or {}).items():
        listener = listener.replace(theirs_file, ours_file)
    (home / "listen.conf").write_text(listener)
    log = folder / "nginx.log"
    main = f"daemon off; master_process off; error_log {folder}/error.log notice;"
    command = [nginx, "-p", f"{folder}/run", "-c", str(home / "nginx.conf"), "-g", main]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        processes.until(lambda: process.poll() is not None or processes.answers(port))
        assert process.poll() is None, log.read_text()
        yield Proxy(port, log)
    finally:
        process.terminate()
        process.wait(60)
