"""A file while it arrives: written to disk piece by piece, hashed, and limited.

The file has no name until `save`: it is opened with O_TMPFILE, so the kernel removes it
when its last descriptor is closed, also after kill -9. Where the file system has no
such files, it has a random name in the folder; `jobs.files.retention` removes those.
"""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from focus.errors import DomainError

# What `head` keeps: enough for every signature that `jobs.files.content_types` reads.
HEAD_BYTES = 4096
PIECE_BYTES = 64 * 1024
# How many bytes may arrive before the free space is checked again.
CHECKED_EVERY = 16 * 1024 * 1024
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# File systems and kernels without O_TMPFILE answer with one of these.
_NO_UNNAMED_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)


class FileTooLarge(DomainError):
    """More bytes arrived than the file may have. Facts: `max_bytes`."""

    code = "file_too_large"


class DiskLow(DomainError):
    """The disk has too little free space to take the file."""

    code = "disk_low"


def incoming_folder() -> Path:
    """Where files arrive before they are stored: on the disk of MEDIA_ROOT."""
    folder = Path(settings.MEDIA_ROOT) / "incoming"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def require_disk(*, size: int) -> None:
    """Raise `DiskLow` unless FILES_LEAST_FREE_BYTES stay free beside `size` more."""
    free = shutil.disk_usage(incoming_folder()).free
    if free - size < settings.FILES_LEAST_FREE_BYTES:
        raise disk_low()


def disk_low() -> DiskLow:
    return DiskLow("The server has no room for this file now. Please try again later.")


def too_large(most: int) -> FileTooLarge:
    return FileTooLarge(f"Send at most {size_in_words(most)}.", max_bytes=most)


def size_in_words(size: int) -> str:
    """Return a size as a person reads it, such as "10 MB"."""
    for unit, name in ((1000**3, "GB"), (1000**2, "MB"), (1000, "KB")):
        if size >= unit:
            return f"{size / unit:.1f}".removesuffix(".0") + f" {name}"
    return f"{size} bytes"


class Arrival:
    """A file that grows by `write` and is gone at `close`, unless it was saved."""

    def __init__(self, *, most_bytes: int) -> None:
        """Raises `DiskLow`."""
        self.most_bytes = most_bytes
        self.size = 0
        self.head = b""
        self._hash = hashlib.sha256()
        self._unchecked = 0
        self._named: Path | None = None
        self._descriptor = -1
        require_disk(size=0)
        try:
            self._descriptor = self._open(incoming_folder())
        except OSError as failure:
            raise _in_words(failure) from failure

    def _open(self, folder: Path) -> int:
        unnamed = getattr(os, "O_TMPFILE", None)
        if unnamed is not None:
            try:
                return os.open(folder, unnamed | os.O_RDWR | os.O_CLOEXEC, 0o600)
            except OSError as failure:
                if failure.errno not in _NO_UNNAMED_FILES:
                    raise
        self._named = folder / f"{secrets.token_hex(16)}.part"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return os.open(self._named, flags, 0o600)

    def __enter__(self) -> "Arrival":
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()

    def write(self, piece: bytes) -> None:
        """Add bytes at the end. Raises `FileTooLarge` before it writes too many, and
        `DiskLow`.
        """
        if self.size + len(piece) > self.most_bytes:
            raise too_large(self.most_bytes)
        self._unchecked += len(piece)
        if self._unchecked > CHECKED_EVERY:
            self._unchecked = 0
            require_disk(size=0)
        try:
            left = memoryview(piece)
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError as failure:
            raise _in_words(failure) from failure
        self._hash.update(piece)
        if len(self.head) < HEAD_BYTES:
            self.head += piece[: HEAD_BYTES - len(self.head)]
        self.size += len(piece)

    @property
    def sha256(self) -> bytes:
        """The digest of what has arrived."""
        return self._hash.digest()

    @property
    def path(self) -> Path:
        """Where this process, and its children of the same user, can read the file."""
        return self._named or Path(f"/proc/{os.getpid()}/fd/{self._descriptor}")

    def open(self) -> BinaryIO:
        """Open the file for reading, from its start."""
        return self.path.open("rb")

    def pieces(self) -> Iterator[bytes]:
        """Read the file from its start."""
        with self.open() as content:
            while piece := content.read(PIECE_BYTES):
                yield piece

    def save(self, target: Path) -> None:
        """Give the file the name `target`, on the same file system, for good.

        The content is on the disk before the name is. Raises `DiskLow`, and
        FileExistsError if there is a file of that name.
        """
        try:
            os.fchmod(self._descriptor, 0o400)
            os.fsync(self._descriptor)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._named is not None:
                os.link(self._named, target)
            else:
                _link(self._descriptor, target)
            for folder in (target.parent, target.parent.parent):
                _sync_folder(folder)
        except OSError as failure:
            if failure.errno in _NO_SPACE:
                raise disk_low() from failure
            raise

    def close(self) -> None:
        """Remove the file, unless it was saved. A second call does nothing."""
        if self._descriptor < 0:
            return
        os.close(self._descriptor)
        self._descriptor = -1
        if self._named is not None:
            with suppress(FileNotFoundError):
                self._named.unlink()

    def __del__(self) -> None:
        self.close()


def _link(descriptor: int, target: Path) -> None:
    # os.link follows the symbolic link in /proc only if it calls linkat, which it does
    # if it gets a folder.
    descriptors = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.link(str(descriptor), target, src_dir_fd=descriptors, follow_symlinks=True)
    finally:
        os.close(descriptors)


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _in_words(failure: OSError) -> Exception:
    return disk_low() if failure.errno in _NO_SPACE else failure
