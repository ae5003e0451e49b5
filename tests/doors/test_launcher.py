"""./dev, with real processes, in small checkouts of its own."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from devtools.launcher import engines, guard, localenv, locks, python, say

ROOT = Path(__file__).resolve().parents[2]
VENV = Path(sys.prefix)

# A project with the same commands as ours that starts in no time.
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
WSGI = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"mini"]
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
    """A copy of the launcher around a project that starts in no time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.children: list[subprocess.Popen[str]] = []
        self.port = free_port()
        for name in ("dev", "requirements.txt", "requirements-dev.txt"):
            shutil.copy(ROOT / name, folder)
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(
            ROOT / "devtools/launcher",
            folder / "devtools/launcher",
            ignore=ignore,
        )
        (folder / "devtools/__init__.py").touch()
        (folder / ".venv").symlink_to(VENV)
        (folder / "focus").mkdir()
        self.write("manage.py", MANAGE)
        self.write("focus/__init__.py", "")
        self.write("focus/env.py", ENV)
        self.write("focus/settings.py", "SECRET_KEY = 'mini'\nUSE_TZ = True\n")
        self.write("focus/celery.py", CELERY)
        self.write("focus/wsgi.py", WSGI)
        self.write("test_mini.py", TEST)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        ours = ("DATABASE_URL", "REDIS_URL", "FOCUS_VAR", "FOCUS_TESTING")
        clean = {name: v for name, v in os.environ.items() if name not in ours}
        clean["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # their imports take seconds
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
                wait_until(lambda below=below: gone(below))
            child.wait()
            if child.stdout:
                child.stdout.close()


@pytest.fixture
def folder():
    # Not tmp_path: its parents are closed to PostgreSQL's user when this is root.
    with tempfile.TemporaryDirectory(prefix="focus-mini-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def checkout(folder):
    if not (VENV / ".focus-stamp").exists():
        pytest.skip("Needs the .venv that ./dev makes.")
    made = Checkout(folder)
    yield made
    made.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def table() -> dict[int, int]:
    """The parent of every process, zombies left out."""
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


def wait_until(true, seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "It did not happen."
        time.sleep(0.05)


# --- What it says -------------------------------------------------------------------


def test_help_names_every_command(checkout):
    for arguments in ((), ("help",), ("--help",)):
        status, said = checkout.run(*arguments)
        assert status == 0
        for command in ("run", "test", "check", "fix", "bench", "manage", "lock"):
            assert f"\n  {command} " in said


def test_an_unknown_command_is_one_line(checkout):
    status, said = checkout.run("fly")
    assert status == 2
    assert said == "dev: there is no command 'fly'. ./dev help lists them.\n"


def test_a_port_in_use_is_one_line(checkout):
    with socket.create_server(("127.0.0.1", checkout.port)):
        status, said = checkout.run("run")
    assert status == 1
    assert said.splitlines() == [
        f"dev: Port {checkout.port} is in use. "
        f"Choose another one: PORT={checkout.port + 1} ./dev run"
    ]


def test_a_port_that_is_none_is_one_line(checkout):
    status, said = checkout.run("run", PORT="http")
    assert (status, len(said.splitlines())) == (1, 1)
    assert "PORT=http is not a port number" in said


def test_no_python_is_one_line(checkout):
    (checkout.folder / ".venv").unlink()
    status, said = checkout.run("test", FOCUS_PYTHON="/bin/false")
    assert status == 1
    assert said == "dev: FOCUS_PYTHON=/bin/false is not a Python 3.11 or newer.\n"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES\n    django from x", "django"),
        ("WARNING: Retrying NewConnectionError(...)\nERROR: no", "cannot be reached"),
        ("ERROR: No matching distribution found for django==5", "no django==5 for"),
        ("ERROR: [Errno 28] No space left on device", "The disk is full"),
        ("ERROR: [Errno 13] Permission denied: '/x'", "No permission"),
        ("ERROR: something else", "something else"),
    ],
)
def test_a_failed_installation_is_one_line(said, line):
    text = python.why_it_failed(said)
    assert line in text
    assert "\n" not in text


def test_a_full_disk_is_one_line():
    line = say.explain(OSError(28, "No space left on device", "var/env"))
    assert line == "The disk is full (var/env). Free some space, then run this again."


# --- ./dev run ----------------------------------------------------------------------


def test_a_run_from_start_to_sigkill_and_back(checkout):
    launcher = checkout.up()
    wait_until(lambda: len(descendants(launcher.pid)) >= 16)  # the pools are up too
    status, said = checkout.run("run")
    assert (status, len(said.splitlines())) == (1, 1)
    assert f"already up in this folder (process {launcher.pid})" in said

    assert checkout.run("manage", "sql", "CREATE TABLE kept (x int)") == (0, "done\n")
    secrets = checkout.folder / "var/env"
    before = secrets.read_text()
    assert secrets.stat().st_mode & 0o777 == 0o600
    assert (checkout.folder / "var/jwt.pem").stat().st_mode & 0o777 == 0o600

    everything = descendants(launcher.pid)
    launcher.kill()
    wait_until(lambda: gone(everything))

    checkout.run("manage", "sql", "INSERT INTO kept VALUES (42)")
    assert checkout.run("manage", "sql", "SELECT x FROM kept") == (0, "[(42,)]\n")
    assert secrets.read_text() == before


def test_a_dead_service_comes_back_and_ctrl_c_ends_all(checkout):
    launcher = checkout.up()
    wait_until(lambda: len(descendants(launcher.pid)) >= 16)
    worker = named(descendants(launcher.pid), " worker -Q ")
    orphans = descendants(worker) - {worker}
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: gone(orphans))
    wait_until(lambda: len(descendants(launcher.pid)) >= 16)
    everything = descendants(launcher.pid) - {launcher.pid}
    launcher.send_signal(signal.SIGINT)
    said, _ = launcher.communicate(timeout=30)
    assert launcher.returncode == 0, said
    assert "worker  | ended with status -9" in said
    assert gone(everything)


def test_three_deaths_end_the_run_and_name_the_service(checkout):
    checkout.write("focus/wsgi.py", "raise RuntimeError('no such luck')\n")
    launcher = checkout.start("run")
    said, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 1
    end = said[said.index("dev: ") :]
    assert end.startswith("dev: web died 3 times within a minute")
    assert "RuntimeError: no such luck" in end


def test_a_postmaster_pid_of_another_process_is_no_obstacle(checkout):
    assert checkout.run("manage", "sql", "SELECT 1") == (0, "[(1,)]\n")
    pidfile = checkout.folder / "var/pg/postmaster.pid"
    pidfile.write_text(f"{os.getpid()}\n{pidfile.parent}\n")
    assert checkout.run("manage", "sql", "SELECT 2") == (0, "[(2,)]\n")


# --- ./dev test ---------------------------------------------------------------------


def test_the_tests_get_engines_and_secrets_of_their_own(checkout):
    status, said = checkout.run("test", "-q", "-p", "no:xdist", SECRET_KEY="mine")
    assert status == 0, said
    assert not (checkout.folder / "var").exists()


def test_sigkill_of_the_tests_leaves_nothing(checkout):
    launcher = checkout.start("test", "-q", "-p", "no:xdist", NAP="1")
    napping = checkout.folder / "napping"
    wait_until(lambda: napping.exists() and napping.read_text())
    scratch = Path(napping.read_text())
    everything = descendants(launcher.pid)
    launcher.kill()
    wait_until(lambda: gone(everything))
    wait_until(lambda: not scratch.exists())


# --- Unusual machines ---------------------------------------------------------------


def test_a_path_too_long_for_a_socket(folder):
    deep = folder / ("long" * 30)
    deep.mkdir()
    made = Checkout(deep)
    try:
        assert made.run("manage", "sql", "SELECT 1") == (0, "[(1,)]\n")
        assert "host=/tmp/focus-" in (deep / "var/env").read_text()
    finally:
        made.close()
        shutil.rmtree(f"/tmp/focus-{os.geteuid()}-{fingerprint(deep / 'var')}")


def fingerprint(path: Path) -> str:
    from devtools.launcher.places import fingerprint

    return fingerprint(path)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="Only root can set this up.")


@as_root
def test_root_in_a_folder_that_nobody_can_enter(folder):
    folder.chmod(0o700)
    inner = folder / "inner"
    inner.mkdir()
    made = Checkout(inner)
    cluster = engines.SYSTEM / fingerprint(inner)
    try:
        assert made.run("manage", "sql", "SELECT 1") == (0, "[(1,)]\n")
        assert (cluster / "var/pg/PG_VERSION").exists()
    finally:
        made.close()
        shutil.rmtree(cluster, ignore_errors=True)


def test_a_user_id_without_a_name_is_one_line(monkeypatch):
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    with pytest.raises(say.Trouble, match="has no name on this machine"):
        engines.our_name()


# --- Its parts ----------------------------------------------------------------------


def test_the_guard_kills_what_ignores_it(monkeypatch):
    monkeypatch.setitem(guard.PATIENCE, "service", 0.3)
    stubborn = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    child = subprocess.Popen(
        ["sh", "-c", stubborn], stdout=subprocess.PIPE, start_new_session=True
    )
    assert child.stdout
    assert child.stdout.readline() == b"ready\n"
    task = {"pid": child.pid, "role": "service", "stop": 15, "group": True}
    guard.finish([task], "NO_SUCH_MARK", [])
    assert child.wait(timeout=5) == -signal.SIGKILL
    child.stdout.close()


@pytest.mark.parametrize("table", [guard.running, guard.running_by_ps])
def test_the_guard_sees_processes_and_their_groups_but_no_zombies(table):
    zombie = subprocess.Popen(["true"])
    wait_until(lambda: zombie.pid not in table())
    assert table()[os.getpid()] == os.getpgrp()
    zombie.wait()


def test_a_private_file_is_never_readable_by_others(tmp_path):
    with contextlib.closing(open(tmp_path / "env", "w")) as existing:
        os.fchmod(existing.fileno(), 0o644)
    localenv.private_file(tmp_path / "env", "A=1\n")
    assert (tmp_path / "env").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["env"]


def test_the_locks_are_in_step_with_what_they_lock():
    assert locks.problems(ROOT) == []


def test_a_lock_out_of_step_is_found(tmp_path):
    files = {
        "requirements.in": "django~=5.2.19\nceleryx[redis]==2.0  # why\n",
        "requirements.txt": "django==5.2.20 \\\n    # via -r requirements.in\n"
        "old==1 \\\n    # via\n    #   -r requirements.in\n",
        "requirements-dev.in": "-r requirements.in\nruff==3\n",
        "requirements-dev.txt": "ruff==2 \\\n    # via -r requirements-dev.in\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert locks.problems(tmp_path) == [
        "requirements.txt: celeryx is missing.",
        "requirements.txt: old is not in requirements.in.",
        "requirements-dev.txt: ruff is 2.",
        "Run ./dev lock.",
    ]
