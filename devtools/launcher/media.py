"""The media engine's own environment, .venv-media: install it and run its tests.

The engine's packages are large and the server never imports them, so they have a
lock and an environment of their own, and everything but hosted work runs without.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from . import python
from .places import ROOT, VAR, Lock
from .say import Trouble, say

if TYPE_CHECKING:
    from .family import Family

Tell = Callable[[float, str], None]

# Measured in an empty clone with an empty cache of pip; only for people to read.
DOWNLOAD_MB = {"requirements.txt": 175, "requirements-dev.txt": 255}
UNPACKED_MB = {"requirements.txt": 385, "requirements-dev.txt": 735}


class Engine:
    """The engine of one checkout: its folder, its environment and its locks."""

    def __init__(self, root: Path = ROOT, var: Path = VAR) -> None:
        self.folder = root / "media"
        self.venv = root / ".venv-media"
        self.python = self.venv / "bin" / "python"
        self.stamp = self.venv / ".focus-stamp"
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
        seconds and from another thread. Must be called in the main thread.
        """
        from .family import Family

        with contextlib.closing(Lock(self.var / "media-install.lock")) as lock:
            if not lock.take("./dev media"):
                say("Another ./dev is installing the media engine; waiting for it.")
                lock.wait("./dev media")
            if not self.ready(tests):
                with Family(lock) as family:
                    self._install(family, tell, tests)

    def _install(self, family: Family, tell: Tell, tests: bool) -> None:
        started, lock = time.monotonic(), self.lock(tests)
        tell(0, f"Installing about {UNPACKED_MB[lock.name]} MB into {self.venv.name}.")
        # Always anew: pip leaves behind what an older lock had installed.
        python.make_venv(family, self.venv)
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


def install(_arguments: list[str]) -> int:
    """./dev media: install the engine with what its tests need."""
    engine = Engine()
    if engine.ready(tests=True):
        say("The media engine is installed.")
        return 0
    engine.install(lambda percent, text: say(f"{percent:3.0f} %  {text}"), tests=True)
    return 0


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
