"""./dev, with real processes, in small checkouts."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from devtools.launcher import ground, guard, localenv, locks, python, say
from devtools.launcher.places import ROOT, fingerprint
from tests.doors.checkout import Checkout, descendants, gone, named, wait_until


@pytest.fixture
def folder():
    # Not tmp_path: PostgreSQL's user cannot enter its parents if this runs as root.
    with tempfile.TemporaryDirectory(prefix="focus-mini-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def checkout(folder):
    if not python.is_current():  # otherwise its ./dev would install packages
        pytest.skip("Needs the .venv that ./dev makes.")
    made = Checkout(folder)
    yield made
    made.close()


# --- Output -------------------------------------------------------------------------


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


def test_unknown_arguments_are_one_line(checkout):
    status, said = checkout.run("run", "--fast")
    assert status == 2
    assert said == "dev: run takes no arguments. ./dev help lists the commands.\n"


def test_a_port_in_use_is_one_line(checkout):
    with socket.create_server(("127.0.0.1", checkout.port)):
        status, said = checkout.run("run")
    assert status == 1
    assert said.splitlines() == [
        f"dev: Port {checkout.port} is in use. "
        f"Choose another one: PORT={checkout.port + 1} ./dev run"
    ]


def test_an_invalid_port_is_one_line(checkout):
    status, said = checkout.run("run", PORT="http")
    assert (status, len(said.splitlines())) == (1, 1)
    assert "PORT=http is not a port number" in said


def test_no_python_is_one_line(checkout):
    (checkout.folder / ".venv").unlink()
    status, said = checkout.run("test", FOCUS_PYTHON="/bin/false")
    assert status == 1
    assert said == "dev: FOCUS_PYTHON=/bin/false is not a Python 3.11 or newer.\n"


def test_an_installation_shows_its_progress():
    installed = [3]
    progress = python.Progress(136, lambda: installed[0])
    for line in (
        "Collecting django==5.2 (from -r requirements.txt)\n",
        "  Downloading django-5.2-py3-none-any.whl (8.3 MB)\n",
        "Collecting tiny==1\n",
        "  Downloading tiny-1-py3-none-any.whl (500 kB)\n",
        "  Downloading playwright-1.65-py3-none-any.whl (53.5 MB)\n",
    ):
        progress.read(line)
    assert "found 2 of up to 136 packages, 62 of about" in progress.line()
    assert progress.line().endswith("MB, now playwright")
    progress.read("Installing collected packages: django, tiny, playwright\n")
    installed[0] = 5
    assert progress.line().endswith("unpacked 2 of 3 packages")


def test_progress_is_shown_while_pip_prints_nothing(capsys, tmp_path):
    """pip unpacks for minutes without output; the developer must see progress."""

    def lines():
        yield "Installing collected packages: django\n"
        time.sleep(0.3)

    with open(tmp_path / "log", "w") as log:
        progress = python.Progress(1, lambda: 0)
        python._follow(
            lines(), log, progress, lambda: say.say(progress.line()), every=0.05
        )
    assert capsys.readouterr().out.count("of 1 packages") >= 2


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
    wait_until(
        lambda: len(descendants(launcher.pid)) >= 17
    )  # the workers' pools run too
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


def test_a_killed_service_restarts_and_ctrl_c_ends_all(checkout):
    def working() -> int:
        """Return the process id of the worker once it has its pool, else 0."""
        with contextlib.suppress(ValueError):
            worker = named(descendants(launcher.pid), " worker -Q celery")
            return worker if len(descendants(worker)) > 1 else 0
        return 0

    launcher = checkout.up()
    wait_until(lambda: working() > 0)
    worker = working()
    orphans = descendants(worker) - {worker}
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: gone(orphans))
    wait_until(lambda: working() not in (0, worker))
    everything = descendants(launcher.pid) - {launcher.pid}
    launcher.send_signal(signal.SIGINT)
    said, _ = launcher.communicate(timeout=30)
    assert launcher.returncode == 0, said
    assert re.search(r"worker +\| ended with status -9", said), said
    assert gone(everything)


def test_three_deaths_end_the_run_and_name_the_service(checkout):
    checkout.write("focus/server.py", "raise RuntimeError('broken')\n")
    launcher = checkout.start("run")
    said, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 1
    end = said[said.index("dev: ") :]
    assert end.startswith("dev: web died 3 times within a minute")
    assert "RuntimeError: broken" in end


def test_a_postmaster_pid_of_another_process_is_no_obstacle(checkout):
    assert checkout.run("manage", "sql", "SELECT 1") == (0, "[(1,)]\n")
    pidfile = checkout.folder / "var/pg/postmaster.pid"
    pidfile.write_text(f"{os.getpid()}\n{pidfile.parent}\n")
    assert checkout.run("manage", "sql", "SELECT 2") == (0, "[(2,)]\n")


# --- ./dev test ---------------------------------------------------------------------


def test_tests_have_their_own_engines_and_secrets(checkout):
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


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="Only root can set this up.")


@as_root
def test_root_in_a_folder_that_postgresqls_user_cannot_enter(folder):
    folder.chmod(0o700)
    inner = folder / "inner"
    inner.mkdir()
    made = Checkout(inner)
    cluster = ground.SYSTEM / fingerprint(inner)
    try:
        assert made.run("manage", "sql", "SELECT 1") == (0, "[(1,)]\n")
        assert (cluster / "var/pg/PG_VERSION").exists()
    finally:
        made.close()
        shutil.rmtree(cluster, ignore_errors=True)


def test_a_user_id_without_a_name_is_one_line(monkeypatch):
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    with pytest.raises(say.Trouble, match="has no name on this machine"):
        ground.our_name()


# --- Parts --------------------------------------------------------------------------


def test_the_guard_kills_a_process_that_ignores_sigterm(monkeypatch):
    monkeypatch.setitem(guard.PATIENCE, "service", 0.3)
    stubborn = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    child = subprocess.Popen(
        ["sh", "-c", stubborn], stdout=subprocess.PIPE, start_new_session=True
    )
    assert child.stdout
    assert child.stdout.readline() == b"ready\n"
    task = {"pid": child.pid, "role": "service", "stop": 15, "group": True}
    guard.finish([task], "NO_SUCH_MARK", [])
    assert child.wait(timeout=30) == -signal.SIGKILL
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


def test_the_lock_files_fit_their_sources():
    assert locks.problems(ROOT) == []


def test_a_lock_file_that_does_not_fit_has_problems(tmp_path):
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
