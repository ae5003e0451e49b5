"""Paths of this clone, and file locks between several ./dev."""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
# Each holds requirements.in and requirements-dev.in, and their locks.
LOCKED = (".", "media")
VAR = Path(os.environ.get("FOCUS_VAR") or ROOT / "var").absolute()


def fingerprint(path: Path) -> str:
    """Return a short stable name of a path, for folders outside the clone."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


class Lock:
    """A file lock. It is released with the last process that has its descriptor."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.file = open(path, "a+")  # noqa: SIM115 - held until close()

    def take(self, purpose: str) -> bool:
        """Take the lock, or return False if another process holds it."""
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._sign(purpose)
        return True

    def wait(self, purpose: str) -> None:
        """Wait for the lock and take it."""
        fcntl.flock(self.file, fcntl.LOCK_EX)
        self._sign(purpose)

    def _sign(self, purpose: str) -> None:
        self.file.truncate(0)
        self.file.write(f"{os.getpid()} {purpose}")
        self.file.flush()

    def holder(self) -> tuple[int, str]:
        """Return the holder's process id (0 if unknown) and its purpose."""
        pid, _, purpose = self.path.read_text().partition(" ")
        return (int(pid), purpose) if pid.isdigit() else (0, "./dev")

    def close(self) -> None:
        self.file.close()
