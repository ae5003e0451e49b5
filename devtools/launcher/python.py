# ruff: noqa: S603, S606 - starting programs is what this file is for
"""The interpreter and the virtual environment in .venv.

Old Pythons can import this file: ./dev calls start_again() to change to a newer one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .places import PYTHON, ROOT, VAR, VENV, Lock
from .say import Trouble, explain, explain_output, last_lines, say

OLDEST = (3, 11)
LOCK = ROOT / "requirements-dev.txt"
STAMP = VENV / ".focus-stamp"
CONSOLE = VENV / "bin" / "focus"
# Measured in an empty clone with pip's cache empty; shown to the developer.
DOWNLOAD_MB, UNPACKED_MB = 175, 730
PIP_BYTES = 20_000_000
PROGRESS_SECONDS = 5.0
_DOWNLOADING = re.compile(r"Downloading (\S+) \(([\d.]+) (bytes|kB|MB|GB)\)")
_MEGABYTES = {"bytes": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}
PROBE = "import sys; sys.exit(sys.version_info[:2] < (3, 11))"

# This form also works in folders with spaces in their path, or with a long path.
CONSOLE_TEXT = """\
#!/bin/sh
'''exec' "{python}" "$0" "$@"
'''
import sys

sys.path.insert(0, {root!r})

from focus.cli import main

main()
"""


def start_again() -> None:
    """Replace this process by ./dev on a Python that is new enough."""
    try:
        python = find()
    except Trouble as trouble:
        sys.exit(f"dev: {trouble}")
    os.execv(python, [python, *sys.argv])


def find() -> str:
    """Return a Python of 3.11 or newer. Raises `Trouble`."""
    asked = os.environ.get("FOCUS_PYTHON")
    if asked:
        if _answers(asked, PROBE):
            return asked
        raise Trouble(f"FOCUS_PYTHON={asked} is not a Python 3.11 or newer.")
    for candidate in _candidates():
        # pyenv has a shim for each version, and shims of unselected versions fail.
        if _answers(candidate, PROBE):
            return candidate
    raise Trouble(
        "Focus needs Python 3.11 or newer and found none: install one "
        "(apt install python3-venv, brew install python) or set FOCUS_PYTHON=/path."
    )


def _candidates() -> Iterator[str]:
    # In .venv, this is the interpreter that .venv was made from.
    yield getattr(sys, "_base_executable", None) or sys.executable
    for name in ("python3.13", "python3.12", "python3.11", "python3"):
        found = shutil.which(name)
        if found:
            yield found
    pyenv = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
    yield from map(str, sorted(pyenv.glob("versions/3.*/bin/python3"), reverse=True))


def _answers(python: str | Path, code: str) -> bool:
    try:
        outcome = subprocess.run(
            [str(python), "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return False
    return outcome.returncode == 0


def ensure() -> None:
    """Install requirements-dev.txt into .venv, unless .venv is current."""
    if is_current():
        return
    lock = Lock(VAR / "install.lock")
    if not lock.take("./dev"):
        say("Another ./dev is installing packages; waiting for it.")
        lock.wait("./dev")
    if not is_current():
        _install(lock)
    lock.close()


def _expected() -> str:
    # With the path, because scripts in .venv/bin name their interpreter.
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    return f"{digest} {os.path.realpath(VENV)}"


def _stamp() -> str:
    try:
        return STAMP.read_text()
    except OSError:
        return ""


def is_current() -> bool:
    """Whether .venv holds exactly the packages of requirements-dev.txt."""
    return _stamp() == _expected() and os.access(PYTHON, os.X_OK)


def _install(lock: Lock) -> None:
    from .family import Family

    started = time.monotonic()
    with Family(lock) as family:
        force: list[str] = []
        moved = bool(_stamp()) and _stamp().split()[1:] != _expected().split()[1:]
        if moved or not _answers(PYTHON, f"import pip; {PROBE}"):
            make_venv(family)
        elif not STAMP.exists():
            # Half installed, or installed by another tool: install everything again.
            force = ["--force-reinstall"]
        STAMP.unlink(missing_ok=True)
        _pip(family, force)
    _write_console()
    STAMP.write_text(_expected())
    say(f"Packages are ready ({time.monotonic() - started:.0f} s).")


def make_venv(family: Any, venv: Path = VENV) -> None:
    python = find()
    say(f"Making {venv.name} with {python}.")
    argv = [python, "-m", "venv", "--clear", venv]
    status, output = family.run(argv, clean_environment())
    if status == 0:
        return
    if known := explain_output(output, venv):
        raise Trouble(known)
    if shutil.disk_usage(venv.parent).free < PIP_BYTES:
        # venv does not show the output of ensurepip, which unpacks pip.
        raise Trouble(explain(OSError(errno.ENOSPC, "", str(venv))))
    if "ensurepip" in output or "No module named" in output:
        raise Trouble(
            f"{python} cannot make virtual environments: apt install python3-venv "
            "(or choose another Python with FOCUS_PYTHON=/path)."
        )
    raise Trouble(f"{python} -m venv failed: {last_lines(output, 1)}")


def clean_environment() -> dict[str, str]:
    """Return the environment without variables that change where packages go."""
    drop = {"PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIRE_VIRTUALENV"}
    drop |= {"PYTHONPATH", "PYTHONHOME", "__PYVENV_LAUNCHER__"}
    return {name: value for name, value in os.environ.items() if name not in drop}


def _pip(family: Any, extra: list[str]) -> None:
    progress = Progress(packages_in(LOCK), _installed)
    say(
        f"Installing up to {progress.total} packages from PyPI into .venv: about "
        f"{DOWNLOAD_MB} MB to download, {UNPACKED_MB} MB on disk. One to five minutes, "
        "once."
    )

    def tell() -> None:
        say(progress.line())

    run_pip(family, PYTHON, LOCK, VAR / "install.log", progress, tell, extra)


def packages_in(lock: Path) -> int:
    return sum("==" in line for line in lock.read_text().splitlines())


def run_pip(
    family: Any,
    python: Path,
    lock: Path,
    log: Path,
    progress: Progress,
    tell: Callable[[], None],
    extra: Sequence[str] = (),
) -> None:
    """Install a hashed lock; call `tell` every few seconds. Raises Trouble."""
    argv: list[str | Path] = [python, "-m", "pip", "install", "--no-input"]
    argv += ["--disable-pip-version-check", "--progress-bar", "off"]
    child = family.start(
        [*argv, "--require-hashes", *extra, "-r", lock],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    lines: Any = child.stdout
    with open(log, "w") as file, lines:
        output = _follow(lines, file, progress, tell)
    if child.wait():
        raise Trouble(why_it_failed(output, lock, python.parents[1]))
    family.reap(child)


class Progress:
    """pip's progress, by its output and by the content of .venv."""

    def __init__(
        self, total: int, installed: Callable[[], int], download_mb: float = DOWNLOAD_MB
    ) -> None:
        self.total = total
        self.download_mb = download_mb
        self.installed = installed
        self.before = installed()
        self.started = time.monotonic()
        self.found = 0
        self.megabytes = 0.0
        self.now = ""
        self.unpacking = 0

    def read(self, line: str) -> None:
        """Take a line of pip's output."""
        text = line.strip()
        found = ("Collecting ", "Processing ", "Requirement already")
        self.found += text.startswith(found)
        if file := _DOWNLOADING.match(text):
            self.megabytes += float(file[2]) * _MEGABYTES[file[3]]
            self.now = file[1].partition("-")[0]
        elif text.startswith("Installing collected packages: "):
            self.unpacking = text.count(",") + 1

    def line(self) -> str:
        """Describe the progress in one line."""
        seconds = f"{time.monotonic() - self.started:.0f} s"
        if self.unpacking:
            done = min(max(0, self.installed() - self.before), self.unpacking)
            return f"  {seconds}: unpacked {done} of {self.unpacking} packages"
        now = f", now {self.now}" if self.now else ""
        return (
            f"  {seconds}: found {self.found} of up to {self.total} packages, "
            f"{self.megabytes:.0f} of about {self.download_mb:.0f} MB{now}"
        )

    def percent(self) -> float:
        """Return how far pip is: downloads count 70, unpacking counts 30."""
        if not self.unpacking:
            return 70 * min(1.0, self.megabytes / self.download_mb)
        done = min(max(0, self.installed() - self.before), self.unpacking)
        return 70 + 30 * done / self.unpacking


def _installed() -> int:
    return sum(1 for _ in VENV.glob("lib/python3*/site-packages/*.dist-info"))


def _follow(
    lines: Any,
    log: Any,
    progress: Progress,
    tell: Callable[[], None],
    every: float = PROGRESS_SECONDS,
) -> str:
    """Read pip's output to its end, and call `tell` every few seconds."""
    seen: list[str] = []
    ended = threading.Event()

    def keep_telling() -> None:
        # pip prints nothing while it downloads a large file and while it unpacks.
        while not ended.wait(every):
            tell()

    reporter = threading.Thread(target=keep_telling, daemon=True)
    reporter.start()
    try:
        for line in lines:
            seen.append(line)
            log.write(line)
            progress.read(line)
    finally:
        ended.set()
        reporter.join()
    return "".join(seen)


def why_it_failed(output: str, lock: Path = LOCK, venv: Path = VENV) -> str:
    """Explain pip's output in one line."""
    errors = [line for line in output.splitlines() if line.startswith("ERROR:")]
    last = errors[-1].removeprefix("ERROR: ") if errors else last_lines(output, 1)
    if known := explain_output(output, venv):
        return known
    if "DO NOT MATCH THE HASHES" in output:
        name = _first(output, "    ", " from ").split(" ")[0]
        return (
            f"The download of {name or 'a package'} is not what {lock.name} "
            "promises (its hash differs). Nothing was installed from it; try again, "
            "and suspect the network or the mirror if it stays."
        )
    network = ("NewConnectionError", "name resolution", "ConnectTimeout", "ProxyError")
    if any(word in output for word in network):
        return (
            "The package index cannot be reached. Check the network, the proxy "
            "(HTTPS_PROXY) or the mirror (PIP_INDEX_URL), then try again."
        )
    if "No matching distribution" in output:
        name = last.removeprefix("No matching distribution found for ")
        return (
            f"The package index has no {name} for this Python and machine. "
            "Check the network and the mirror (PIP_INDEX_URL), or use another Python "
            "(FOCUS_PYTHON=/path)."
        )
    return f"pip could not install the packages: {last}"


def _first(text: str, before: str, after: str) -> str:
    for line in text.splitlines():
        if line.startswith(before) and after in line:
            return line.strip()
    return ""


def _write_console() -> None:
    text = CONSOLE_TEXT.format(python=PYTHON, root=str(ROOT))
    CONSOLE.write_text(text)
    CONSOLE.chmod(0o755)
