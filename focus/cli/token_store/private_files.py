"""Files that only their owner can read. A write replaces the whole file, or fails."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from focus.cli.failure import Failure

_POSIX = os.name == "posix"
# Absent on Windows, where other users lack the right to create links.
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)


def read(path: Path) -> bytes | None:
    """Return the file's bytes, or None if there is no such file."""
    refuse_link(path)
    try:
        with open(os.open(path, os.O_RDONLY | _NOFOLLOW), "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Failure(
            f"Can't read {path}: {error.strerror}.", error="unreadable"
        ) from None


def write(path: Path, content: bytes) -> None:
    """Replace the file atomically. The new file has mode 0600 from the start."""
    refuse_link(path)
    spare = path.with_name(f".{secrets.token_hex(8)}.new")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW
        with open(os.open(spare, flags, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(spare, path)
    except OSError as error:
        spare.unlink(missing_ok=True)
        raise unwritable(path, error) from None


def remove(path: Path) -> None:
    """Remove the file, if it exists. Of a link, only the link is removed."""
    try:
        path.unlink(missing_ok=True)
    except NotADirectoryError:
        pass
    except OSError as error:
        raise unwritable(path, error) from None


def make_directory(path: Path) -> None:
    """Create a directory with mode 0700, and check that we can write to it.

    Raises `Failure` if the directory is not ours or others can write to it.
    """
    refuse_link(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        if _POSIX:
            _require_ours(path)
        probe = path / f".{secrets.token_hex(8)}.probe"
        probe.touch(mode=0o600, exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise unwritable(path, error) from None


def _require_ours(path: Path) -> None:
    found = path.stat()
    if os.geteuid() not in (found.st_uid, 0):
        raise Failure(f"{path} belongs to another user.", error="unsafe_directory")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Failure(
            f"Others can write to {path}. Run: chmod 700 {path}",
            error="unsafe_directory",
        )
    # An empty directory becomes 0700. A shared one, such as $HOME, keeps its mode:
    # the files in it are 0600 anyway.
    if found.st_mode & 0o077 and not any(path.iterdir()):
        path.chmod(0o700)


def refuse_link(path: Path) -> None:
    """Raise `Failure` for a link: an attacker could redirect our reads and writes."""
    if path.is_symlink():
        raise Failure(
            f"{path} is a symbolic link, which is not followed. Remove it, or set "
            "FOCUS_CONFIG_DIR to the real directory.",
            error="symbolic_link",
        )


def unwritable(path: Path, error: OSError) -> Failure:
    """Return the failure of a path that cannot be written."""
    return Failure(
        f"Can't write to {path}: {error.strerror}. Set FOCUS_CONFIG_DIR to a directory "
        "you can write to, or use FOCUS_TOKEN.",
        error="unwritable",
    )
