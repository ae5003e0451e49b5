"""A small checkout around the real launcher, and a view of its processes."""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from devtools.launcher.media import Engine
from devtools.launcher.places import ROOT, VENV

# A project with the same commands as ours, with imports that take no time.
MANAGE = """
import os, sys
from focus import env
command, *rest = sys.argv[1:]
if command == "demo":
    print("demo@focus.test / a password")
if command == "sql":
    import psycopg
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as link:
        cursor = link.execute(rest[0])
        print(cursor.fetchall() if cursor.description else "done")
"""
ENV = """
import os, pathlib
file = pathlib.Path(os.environ.get("FOCUS_VAR") or "var") / "env"
if file.exists():
    for line in file.read_text().splitlines():
        name, _, value = line.partition("=")
        os.environ.setdefault(name, value)
"""
CELERY = """
import os
from celery import Celery
from focus import env
url = os.environ["REDIS_URL"].replace("?db=", "?virtual_host=")
app = Celery("focus", broker="redis+socket://" + url.removeprefix("unix://"))
app.conf.beat_scheduler = "celery.beat:Scheduler"
"""
SERVER = """
import os, signal, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from focus import env

class Mini(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"mini")

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Mini).serve_forever()
"""
TEST = """
import os, pathlib, subprocess, time
import psycopg, redis

def test_engines():
    assert os.environ["SECRET_KEY"] != "mine"
    assert "-----BEGIN PRIVATE KEY" in open(os.environ["JWT_PRIVATE_KEY_FILE"]).read()
    with psycopg.connect(os.environ["DATABASE_URL"]) as link:
        assert link.execute("SHOW fsync").fetchone() == ("off",)
        assert link.execute(
            "SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'focus'"
        ).fetchone() == ("b", "C.UTF-8")
    assert redis.Redis.from_url(os.environ["REDIS_URL"], db=17).ping()

def test_long():
    if "NAP" in os.environ:
        subprocess.Popen(["sleep", "600"], start_new_session=True)
        pathlib.Path("napping").write_text(os.environ["FOCUS_VAR"])
        time.sleep(600)
"""


class Checkout:
    """A copy of the launcher around the small project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.children: list[subprocess.Popen[str]] = []
        self.port = free_port()
        for name in ("dev", "requirements.txt", "requirements-dev.txt"):
            shutil.copy(ROOT / name, folder)
        ignore = shutil.ignore_patterns("__pycache__")
        for part in ("devtools/launcher", "devtools/stripe_emulator"):
            shutil.copytree(ROOT / part, folder / part, ignore=ignore)
        (folder / "devtools/__init__.py").touch()
        (folder / ".venv").symlink_to(VENV)
        (folder / "focus").mkdir()
        (folder / "media").mkdir()
        for name in ("requirements.txt", "requirements-dev.txt"):
            self.write(f"media/{name}", "")
        self.engine = Engine(folder, folder / "var")
        self.engine.python.parent.mkdir(parents=True)
        self.engine.python.symlink_to(sys.executable)
        self.engine.stamp.write_text(self.engine._expected(tests=True))
        self.write("manage.py", MANAGE)
        self.write("focus/__init__.py", "")
        self.write("focus/env.py", ENV)
        self.write("focus/settings.py", "SECRET_KEY = 'mini'\nUSE_TZ = True\n")
        self.write("focus/celery.py", CELERY)
        self.write("focus/server.py", SERVER)
        self.write("test_mini.py", TEST)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        ours = ("DATABASE_URL", "REDIS_URL", "FOCUS_VAR", "FOCUS_TESTING")
        clean = {name: v for name, v in os.environ.items() if name not in ours}
        clean["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # our real imports take seconds
        child = subprocess.Popen(
            [sys.executable, "dev", *arguments],
            cwd=self.folder,
            env={**clean, "PORT": str(self.port), **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.children.append(child)
        return child

    def run(self, *arguments: str, **env: str) -> tuple[int, str]:
        child = self.start(*arguments, **env)
        output, _ = child.communicate(timeout=60)
        return child.returncode, output

    def up(self) -> subprocess.Popen[str]:
        child = self.start("run")
        assert child.stdout
        seen = ""
        for line in child.stdout:
            seen += line
            if "Ctrl-C stops everything" in line:
                return child
        raise AssertionError(seen)

    def close(self) -> None:
        for child in self.children:
            if child.poll() is None:
                below = descendants(child.pid)
                child.kill()
                wait_until(partial(gone, below))
            child.wait()
            if child.stdout:
                child.stdout.close()


def wheel(folder: Path, name: str) -> str:
    """Write a wheel with one module; return its line in a lock."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", "ANSWER = 42\n")
        file.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        )
        file.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\n"
            "Root-Is-Purelib: true\nTag: py3-none-any\n",
        )
        file.writestr(f"{info}/RECORD", "")
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def table() -> dict[int, int]:
    """Return the parent of every process except zombies, by process id."""
    listing = subprocess.check_output(["ps", "-A", "-o", "pid=,ppid=,stat="], text=True)
    rows = (line.split() for line in listing.splitlines())
    return {int(row[0]): int(row[1]) for row in rows if not row[2].startswith("Z")}


def descendants(pid: int) -> set[int]:
    parents = table()
    found = {pid}
    while True:
        more = {child for child, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


def gone(pids: set[int]) -> bool:
    return not pids & table().keys()


def named(pids: set[int], text: str) -> int:
    listing = subprocess.check_output(
        ["ps", "-A", "-ww", "-o", "pid=,args="], text=True
    )
    rows = (line.split(maxsplit=1) for line in listing.splitlines())
    return min(int(r[0]) for r in rows if int(r[0]) in pids and text in r[1])


def wait_until(true: Callable[[], bool], seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "It did not happen."
        time.sleep(0.05)
