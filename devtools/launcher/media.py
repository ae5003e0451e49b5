"""The media engine's own environment, .venv-media: install it and run its tests.

The engine's packages are large and the server never imports them, so they have a
lock and an environment of their own, and everything but hosted work runs without.
`./dev run` installs them in the background, in a process of its own, after its first
screen.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from . import localenv, python
from .places import ROOT, VAR, Lock
from .say import Stop, Trouble, explain, say

if TYPE_CHECKING:
    from .family import Family

Tell = Callable[[float, str], None]

# Measured in an empty clone with an empty cache of pip; only for people to read.
DOWNLOAD_MB = {"requirements.txt": 240, "requirements-dev.txt": 375}
UNPACKED_MB = {"requirements.txt": 550, "requirements-dev.txt": 1085}
# Stays free on the disk: a database that cannot write is worse than no engine.
SPARE_MB = 300
READY = "The media engine is ready."
AGAIN = "./dev media tries again. Everything else works without it."


class Engine:
    """The engine of one checkout: its folder, its environment and its locks."""

    def __init__(self, root: Path = ROOT, var: Path = VAR) -> None:
        self.folder = root / "media"
        self.venv = root / ".venv-media"
        self.python = self.venv / "bin" / "python"
        self.stamp = self.venv / ".focus-stamp"
        self.state = var / "media-install.json"
        self.var = var

    def lock(self, tests: bool) -> Path:
        return self.folder / ("requirements-dev.txt" if tests else "requirements.txt")

    def ready(self, tests: bool = False) -> bool:
        """Whether the environment holds what the lock says now."""
        have = self._stamp()
        fits = have == self._expected(True) or (
            not tests and have == self._expected(False)
        )
        return fits and os.access(self.python, os.X_OK)

    def install(self, tell: Tell, tests: bool = False) -> None:
        """Make the environment hold exactly the lock. Raises Trouble.

        `tell` hears a percentage that never falls and a line for people, every few
        seconds and from another thread. The file `state` has the same for the media
        worker. Must be called in the main thread.
        """
        with contextlib.closing(Lock(self.var / "media-install.lock")) as lock:
            if not lock.take("./dev media"):
                say("Another ./dev is installing the media engine; waiting for it.")
                lock.wait("./dev media")
            if self.ready(tests):
                self.report(100, READY)
            elif self.ready():
                self._add_tests(lock, tell)
            else:
                self._install_anew(lock, tell, tests)

    def _install_anew(self, lock: Lock, tell: Tell, tests: bool) -> None:
        def tell_all(percent: float, text: str) -> None:
            self.report(percent, text)
            tell(percent, text)

        try:
            self._check_room(self.lock(tests).name)
            self._install(lock, tell_all, tests, anew=True)
        except (Trouble, OSError) as error:
            # A half-filled environment is of no use, and may have filled the disk.
            shutil.rmtree(self.venv, ignore_errors=True)
            why = explain(error) if isinstance(error, OSError) else str(error)
            self.report(0, error=f"{why} {AGAIN}")
            raise Trouble(f"The media engine is not installed. {why}") from None
        except Stop:
            self.report(0, error=f"The installation was stopped. {AGAIN}")
            raise

    def _add_tests(self, lock: Lock, tell: Tell) -> None:
        # In place: both locks have the same versions, and the engine works meanwhile.
        self._install(lock, tell, tests=True, anew=False)

    def _install(self, held: Lock, tell: Tell, tests: bool, *, anew: bool) -> None:
        from .family import Family

        started, lock = time.monotonic(), self.lock(tests)
        tell(
            0,
            f"Installing the media engine, for restorations: about "
            f"{DOWNLOAD_MB[lock.name]} MB to download, {UNPACKED_MB[lock.name]} MB in "
            f"{self.venv.name}. Everything else works meanwhile.",
        )
        with Family(held) as family:
            if anew:
                # pip leaves behind what an older lock had installed.
                python.make_venv(family, self.venv)
                tell(2, "Looking for the packages.")
            progress = python.Progress(
                python.packages_in(lock), self._installed, DOWNLOAD_MB[lock.name]
            )
            highest = 2.0

            def report() -> None:
                nonlocal highest
                highest = max(highest, 2 + 0.97 * progress.percent())
                tell(highest, progress.line().strip())

            log = self.var / "media-install.log"
            python.run_pip(family, self.python, lock, log, progress, report)
        self.stamp.write_text(self._expected(tests))
        tell(100, f"The media engine is ready ({time.monotonic() - started:.0f} s).")

    def _check_room(self, lock: str) -> None:
        """Raise Trouble if the installation would leave too little of a disk free."""
        needs: Counter[int] = Counter()
        places = {}
        temporary = Path(tempfile.gettempdir())
        for place, megabytes in (
            (temporary, DOWNLOAD_MB[lock]),
            (self.venv.parent, UNPACKED_MB[lock] + SPARE_MB),
        ):
            device = place.stat().st_dev
            needs[device] += megabytes
            places[device] = place
        for device, need in needs.items():
            free = shutil.disk_usage(places[device]).free // 1_000_000
            if free < need:
                raise Trouble(
                    f"The disk of {places[device]} has {free} MB free, and the "
                    f"installation needs {need} MB. Free some space."
                )

    def report(self, percent: float, text: str = "", error: str = "") -> None:
        """Replace the file `state`. A disk that is full or read-only is ignored."""
        content = {"percent": round(percent), "text": text, "error": error}
        with contextlib.suppress(OSError):
            localenv.private_file(self.state, json.dumps(content) + "\n")

    def announce(self) -> bool:
        """Write `state` anew as `./dev run` starts. Return whether to install."""
        with contextlib.closing(Lock(self.var / "media-install.lock")) as lock:
            if self.ready():
                self.report(100, READY)
                return False
            if lock.take("./dev run"):
                self.report(0, "The installation begins after the first screen.")
            return True

    def record_death(self, status: int) -> str:
        """Write `state` after the installing process ended badly. Return its error."""
        if self.ready():  # another ./dev took over and is done
            self.report(100, READY)
            return READY
        error = f"The installation ended with status {status}, unfinished. {AGAIN}"
        self.report(0, error=error)
        return error

    def _installed(self) -> int:
        return sum(1 for _ in self.venv.glob("lib/python3*/site-packages/*.dist-info"))

    def _expected(self, tests: bool) -> str:
        # The path belongs to it: scripts in bin/ name their interpreter.
        digest = hashlib.sha256(self.lock(tests).read_bytes()).hexdigest()
        return f"{digest} {os.path.realpath(self.venv)}"

    def _stamp(self) -> str:
        try:
            return self.stamp.read_text()
        except OSError:
            return ""


def install(arguments: list[str]) -> int:
    """./dev media: install the engine with what its tests need.

    `./dev run` adds --background: then without the tests' packages, at a low priority.
    """
    engine = Engine()
    if arguments == ["--background"]:
        os.nice(10)
        try:
            engine.install(InSteps())
        except Trouble as trouble:
            say(f"{trouble} {AGAIN}")
        return 0
    if arguments:
        raise Trouble("media takes no arguments.")
    if engine.ready(tests=True):
        say("The media engine is installed.")
    engine.install(lambda percent, text: say(f"{percent:3.0f} %  {text}"), tests=True)
    return 0


class InSteps:
    """Prints some of the progress: every fifth, once a minute, and the end."""

    STEP, SECONDS = 20, 60

    def __init__(self) -> None:
        self.next, self.due = 0.0, 0.0

    def __call__(self, percent: float, text: str) -> None:
        if percent < self.next and time.monotonic() < self.due:
            return
        self.next = percent - percent % self.STEP + self.STEP
        self.due = time.monotonic() + self.SECONDS
        say(f"{percent:3.0f} %  {text}")


# --- its tests -------------------------------------------------------------------


def only(arguments: list[str]) -> bool:
    """Whether the arguments of ./dev test name nothing but the engine's tests."""
    paths = [a for a in arguments if a.startswith(("tests", "media"))]
    return bool(paths) and all(path.startswith("media") for path in paths)


def run_tests(family: Family, arguments: list[str]) -> int:
    """Run the engine's tests, if the arguments of ./dev test mean them.

    Without arguments the quick ones run, with --slow the others. Any other argument
    is meant for the server's tests, unless all its paths are the engine's.
    """
    named = only(arguments)
    if not named and arguments not in ([], ["--slow"]):
        return 0
    engine = Engine()
    if not engine.ready(tests=True):
        missing = "The media engine's tests need ./dev media, which installs them."
        if named or os.environ.get("FOCUS_CI"):
            raise Trouble(missing)
        say(f"{missing} They are skipped.")
        return 0
    chosen = [a for a in arguments if a != "--slow"] if named else ["media/tests"]
    if "--slow" in arguments:
        chosen += ["-m", "slow"]
    elif not named:
        chosen += ["-m", "not slow"]
    argv: list[str | Path] = [engine.python, "-m", "pytest", *chosen]
    return family.foreground(argv, python.clean_environment())


# --- its types -------------------------------------------------------------------


def types() -> list[str | Path] | None:
    """The command that checks the engine's types, or None without the engine.

    The checker is .venv's; the packages it reads are the engine's.
    """
    engine = Engine()
    if not engine.ready(tests=True):
        return None
    argv: list[str | Path] = ["-m", "mypy", "--config-file", "media/mypy.ini"]
    return [*argv, "--python-executable", engine.python, "media"]
