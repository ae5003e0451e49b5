"""./dev run installs the media engine after its first screen, with real processes."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools.launcher import media, python
from devtools.launcher.places import ROOT
from tests.doors.checkout import Checkout, descendants, gone, named, wait_until, wheel

SECONDS = 60


class Bare(Checkout):
    """A checkout without the engine, which two small local wheels make up."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.engine.stamp.unlink()
        wheels = folder / "wheels"
        wheels.mkdir()
        run, test = wheel(wheels, "enginepart"), wheel(wheels, "testpart")
        self.write("media/requirements.txt", f"{run}\n")
        self.write("media/requirements-dev.txt", f"{run}\n{test}\n")
        clean = {"PIP_CONFIG_FILE": "/dev/null", "PIP_EXTRA_INDEX_URL": ""}
        self.offline = {**clean, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
        self.said: list[str] = []

    def index(self, port: int) -> dict[str, str]:
        """Return the environment for a package index at this port."""
        return {
            **self.offline,
            "PIP_NO_INDEX": "0",
            "PIP_FIND_LINKS": "",
            "PIP_INDEX_URL": f"http://127.0.0.1:{port}/simple",
            "PIP_RETRIES": "1",
        }

    def bring_up(self, **env: str) -> subprocess.Popen[str]:
        """Start ./dev run, wait for its first screen, and keep what it says after."""
        child = self.start("run", **env)
        assert child.stdout
        for line in child.stdout:
            self.said.append(line)
            if "Ctrl-C stops everything" in line:
                break
        assert self.media_lines() == []
        reader = threading.Thread(target=self.said.extend, args=(child.stdout,))
        reader.start()
        return child

    def media_lines(self) -> list[str]:
        return [line for line in self.said if re.match(r"media +\|", line)]

    def state(self) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads(self.engine.state.read_text())
        except FileNotFoundError:
            return {}
        return content

    def pip(self, launcher: subprocess.Popen[str]) -> int:
        """Return the process id of the installation's pip, or 0."""
        with contextlib.suppress(ValueError):
            return named(descendants(launcher.pid), " -m pip install")
        return 0

    def until(self, true: Callable[[], object]) -> None:
        try:
            wait_until(lambda: bool(true()), SECONDS)
        except AssertionError:
            raise AssertionError(f"{self.state()}\n{''.join(self.said)}") from None

    def web_answers(self) -> bool:
        where = f"http://127.0.0.1:{self.port}/"
        with urllib.request.urlopen(where, timeout=SECONDS) as answer:
            return bool(answer.read() == b"mini")


@pytest.fixture
def bare() -> Iterator[Bare]:
    if not python.is_current():
        pytest.skip("Needs the .venv that ./dev makes.")
    # Not tmp_path: PostgreSQL's user cannot enter its parents if this runs as root.
    with tempfile.TemporaryDirectory(prefix="focus-mini-") as name:
        Path(name).chmod(0o755)
        made = Bare(Path(name))
        yield made
        made.close()


@pytest.fixture
def silent_index() -> Iterator[int]:
    """A package index that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_the_engine_is_installed_after_the_first_screen(bare: Bare) -> None:
    bare.bring_up(**bare.offline)
    bare.until(bare.engine.ready)
    bare.until(lambda: bare.state().get("percent") == 100)
    assert bare.state()["error"] == ""
    bare.until(lambda: any("is ready" in line for line in bare.media_lines()))
    assert "Everything else works meanwhile." in bare.media_lines()[0]
    assert not bare.engine.ready(tests=True)
    # The installing process ended, and ./dev run did not start it again.
    assert not any("ended with status" in line for line in bare.media_lines()[:-1])
    assert bare.web_answers()


def test_an_installed_engine_is_left_alone_and_needs_no_network(bare: Bare) -> None:
    bare.engine.stamp.write_text(bare.engine._expected(tests=False))
    (bare.folder / "var").mkdir()
    bare.engine.report(30, error="an old failure")
    launcher = bare.bring_up(**bare.index(1))
    assert bare.state() == {
        "percent": 100,
        "text": "The media engine is ready.",
        "error": "",
    }
    bare.until(bare.web_answers)
    assert bare.pip(launcher) == 0
    assert bare.media_lines() == []


def test_without_a_network_the_reason_is_shown_and_the_rest_runs(bare: Bare) -> None:
    bare.bring_up(**bare.index(1))
    bare.until(lambda: bare.state()["error"])
    assert "The package index cannot be reached." in bare.state()["error"]
    assert bare.state()["error"].endswith(media.AGAIN)
    bare.until(lambda: any(media.AGAIN in line for line in bare.media_lines()))
    assert bare.web_answers()
    assert not bare.engine.venv.exists()

    status, said = bare.run("media", **bare.offline)
    assert (status, bare.state()["percent"]) == (0, 100), said
    assert bare.state()["error"] == ""
    assert bare.engine.ready(tests=True)


def test_a_wheel_that_is_not_what_the_lock_promises_is_named(bare: Bare) -> None:
    lock = bare.folder / "media/requirements.txt"
    digest = lock.read_text().strip()[-64:]
    lock.write_text(lock.read_text().replace(digest, "0" * 64))
    bare.bring_up(**bare.offline)
    bare.until(lambda: bare.state()["error"])
    assert "enginepart" in bare.state()["error"]
    assert not bare.engine.ready()
    assert bare.web_answers()


def test_the_installation_dies_with_a_killed_launcher(
    bare: Bare, silent_index: int
) -> None:
    launcher = bare.bring_up(**bare.index(silent_index))
    bare.until(lambda: bare.pip(launcher))
    everything = descendants(launcher.pid)
    launcher.kill()
    bare.until(lambda: gone(everything))


def test_ctrl_c_ends_the_installation(bare: Bare, silent_index: int) -> None:
    launcher = bare.bring_up(**bare.index(silent_index))
    bare.until(lambda: bare.pip(launcher))
    everything = descendants(launcher.pid) - {launcher.pid}
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(SECONDS) == 0
    assert gone(everything)


def test_dev_media_waits_for_the_installation_and_takes_over_when_it_is_killed(
    bare: Bare, silent_index: int
) -> None:
    launcher = bare.bring_up(**bare.index(silent_index))
    bare.until(lambda: bare.pip(launcher))
    assert bare.state()["percent"] < 100
    waiting = bare.start("media", **bare.offline)
    assert waiting.stdout
    assert "waiting for it" in waiting.stdout.readline()
    os.kill(named(descendants(launcher.pid), " dev media --background"), 9)
    rest, _ = waiting.communicate(timeout=SECONDS)
    assert waiting.returncode == 0, rest
    assert bare.engine.ready(tests=True)
    assert (bare.state()["percent"], bare.state()["error"]) == (100, "")
    assert bare.web_answers()


def test_a_killed_installation_says_what_to_do(bare: Bare, silent_index: int) -> None:
    launcher = bare.bring_up(**bare.index(silent_index))
    bare.until(lambda: bare.pip(launcher))
    os.kill(named(descendants(launcher.pid), " dev media --background"), 9)
    bare.until(lambda: bare.state()["error"])
    assert bare.state()["error"].startswith("The installation ended with status -9")
    assert bare.state()["error"].endswith(media.AGAIN)
    bare.until(lambda: any("status -9" in line for line in bare.media_lines()))
    assert bare.web_answers()


ON_A_SMALL_DISK = """
import sys
from pathlib import Path
from devtools.launcher import media, say

folder, found = Path(sys.argv[1]), sys.argv[2]
for name in ("media", "var"):
    (folder / name).mkdir()
for name in media.UNPACKED_MB:
    (folder / "media" / name).write_text("enginepart==1.0 --hash=sha256:" + "0" * 64)
if found == "later":
    # As if another program filled the disk after the check.
    media.UNPACKED_MB = media.DOWNLOAD_MB = dict.fromkeys(media.UNPACKED_MB, 0)
    media.SPARE_MB = 0
engine = media.Engine(folder, folder / "var")
try:
    engine.install(lambda *_: None)
except say.Trouble as trouble:
    print(trouble)
print(engine.state.read_text())
print("left", engine.venv.exists())
"""
MOUNT = ["unshare", "-rm", "sh", "-ec"]
SMALL = 'mount -t tmpfs -o size=6m tmpfs "$0"; exec "$@"'


@pytest.mark.parametrize("found", ["first", "later"])
def test_a_full_disk_is_explained_and_freed_again(tmp_path: Path, found: str) -> None:
    if subprocess.run([*MOUNT, SMALL, tmp_path, "true"]).returncode:
        pytest.skip("This kernel does not let us mount a small disk.")
    script: list[str | Path] = [sys.executable, "-c", ON_A_SMALL_DISK, tmp_path, found]
    run = subprocess.run(
        [*MOUNT, SMALL, tmp_path, *script],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=ROOT,
    )
    said = {"first": "6 MB free, and the installation needs", "later": "disk is full"}
    assert run.returncode == 0, run.stderr
    assert said[found] in run.stdout
    assert media.AGAIN in run.stdout
    assert run.stdout.endswith("left False\n")
