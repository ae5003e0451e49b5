"""Files: the row first, then the object, then the time at which it arrived.

1. `expect` writes the row, with the quota checked under a lock of the account.
2. The content arrives in a temporary file, which has no name (`focus.bodies.arrivals`).
3. `store` puts the object under a new key of the row, and then writes `arrived_at`.

A process that dies at any step leaves a row that is due soon, so a worker removes what
there is (`jobs.files.retention`).
"""

import os
import secrets
import stat
import uuid
from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from django.core.files.storage import storages
from django.db import transaction
from django.utils import timezone

from focus.bodies.arrivals import PIECE_BYTES, Arrival
from focus.due import NOW
from focus.errors import DomainError, NotFound
from jobs.files import quotas
from jobs.files.pieces import Pieces
from jobs.models import StoredFile

# How long a new file stays if no transaction keeps it.
UNKEPT = timedelta(hours=1)
# The storage's folders are the first byte of the keys, in hex.
PREFIXES = [f"{number:02x}" for number in range(256)]


class AlreadyArrived(DomainError):
    """The content of this file has arrived before, or is being stored now."""

    code = "upload_used"


class StorageFailed(DomainError):
    """The storage did not take the file."""

    code = "storage_failed"


def backend() -> Any:
    """Return the storage backend `files`: a DiskStorage or a BucketStorage."""
    return storages["files"]


def new_key() -> str:
    """Return a key that cannot be guessed, in one of the 256 folders."""
    name = secrets.token_hex(20)
    return f"{name[:2]}/{name[2:]}"


def expect(
    *,
    account_id: uuid.UUID,
    purpose: str,
    name: str,
    content_type: str,
    most_bytes: int,
    due_at: datetime | None = None,
) -> StoredFile:
    """Write the row of a file that will arrive, of at most `most_bytes`.

    Raises `quotas.FileQuotaSpent` or `DiskLow`, and then nothing is written. Commits in
    a transaction of its own, so it must not be called in one. Locks the account's files
    meanwhile. The file is removed at `due_at`, in an hour if none is given, unless
    `keep` is called.
    """
    with transaction.atomic(durable=True):
        quotas.lock_files(account_id=account_id)
        quotas.require_room(account_id=account_id, size=most_bytes)
        return StoredFile.objects.create(
            account_id=account_id,
            purpose=purpose,
            key=new_key(),
            name=clean_name(name),
            content_type=content_type,
            most_bytes=most_bytes,
            due_at=due_at or timezone.now() + UNKEPT,
        )


def store(arrival: Arrival, *, file: StoredFile, content_type: str) -> StoredFile:
    """Store what has arrived as the content of an expected file; returns the file.

    Raises `AlreadyArrived` for a file that has its content, `NotFound` for a deleted
    one, and `StorageFailed`. Of two calls at once, the one that began last wins.
    """
    # A key of this call's own: a second call never writes into the first one's object.
    before, key = file.key, new_key()
    expected = StoredFile.objects.filter(
        pk=file.pk, arrived_at=None, deleted_at=None, most_bytes__gte=arrival.size
    )
    if not expected.update(key=key):
        raise _why_not(file)
    try:
        backend().adopt(arrival, key, content_type=content_type)
        if before != key:
            backend().remove(before)
    except DomainError:
        raise
    except Exception as failure:
        raise StorageFailed("The file could not be stored.") from failure
    stored = expected.filter(key=key).update(
        size=arrival.size,
        sha256=arrival.sha256,
        content_type=content_type,
        arrived_at=NOW,
    )
    if not stored:
        backend().remove(key)
        raise _why_not(file)
    file.refresh_from_db()
    return file


def _why_not(file: StoredFile) -> DomainError:
    if StoredFile.objects.filter(pk=file.pk, deleted_at=None).exists():
        return AlreadyArrived("This file has been uploaded already.")
    return NotFound("This file does not exist any more.")


def publish(
    path: Path,
    *,
    account_id: uuid.UUID,
    purpose: str,
    name: str,
    content_type: str,
) -> StoredFile:
    """Store a copy of a finished local file, such as a result of the engine.

    The file is removed in an hour, unless `keep` is called in the transaction that
    refers to it. Raises what `expect` and `store` raise, and OSError for a path that is
    no regular file: the engine may be hostile, so a symbolic link is not followed. Must
    not be called in a transaction.
    """
    with _opened(path) as content:
        size = os.fstat(content.fileno()).st_size
        file = expect(
            account_id=account_id,
            purpose=purpose,
            name=name,
            content_type=content_type,
            most_bytes=size,
        )
        try:
            with Arrival(most_bytes=size) as arrival:
                while piece := content.read(PIECE_BYTES):
                    arrival.write(piece)
                return store(arrival, file=file, content_type=content_type)
        except BaseException:
            forget([file.pk])
            raise


def _opened(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"not a regular file: {path.name}")
    return os.fdopen(descriptor, "rb")


def keep(file_ids: Collection[uuid.UUID], *, due_at: datetime | None) -> None:
    """Keep arrived files until `due_at`, or for good. In the caller's transaction.

    Raises `NotFound` if one of them is deleted or has not arrived.
    """
    ids = set(file_ids)
    live = StoredFile.objects.filter(
        pk__in=ids, deleted_at=None, arrived_at__isnull=False
    )
    if live.update(due_at=due_at, tries=0, lease=None) != len(ids):
        raise NotFound("A file does not exist any more.")


def forget(file_ids: Collection[uuid.UUID | None]) -> None:
    """Delete files, in the caller's transaction; a worker removes the objects.

    From the commit on their addresses answer 404 and their room is free. None and files
    that are deleted already change nothing.
    """
    ids = {file_id for file_id in file_ids if file_id is not None}
    if ids:
        live = StoredFile.objects.filter(pk__in=ids, deleted_at=None)
        live.update(deleted_at=NOW, due_at=NOW, tries=0, lease=None)


def local_copy(file: StoredFile, folder: Path, name: str) -> Path:
    """Put an arrived file's content at `folder`/`name`; returns that path.

    The content is read-only, and the same inode where the file system allows it. Raises
    FileNotFoundError if the object is gone.
    """
    target = folder / name
    backend().copy_to(file.key, target)
    return target


def open_range(file: StoredFile, start: int, end: int) -> Pieces:
    """Read an arrived file from `start` up to, not including, `end`, in pieces.

    Raises FileNotFoundError at once if the object is gone. Close the pieces if you stop
    before their end.
    """
    pieces: Pieces = backend().read(file.key, start=start, end=end)
    return pieces


# Characters that file systems or terminals read as something else, and the controls
# that turn the direction of text: "gpj.exe" would show as "exe.jpg".
_UNSAFE = {ord(character): "_" for character in '/\\:*?"<>|%'}
_TURNING = dict.fromkeys(
    [*range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070), 0xFEFF]
)


def clean_name(name: str) -> str:
    """Return `name` as a file name that every system takes, of at most 150 characters.

    Folders before the name, control characters and outer dots are dropped. An empty
    name becomes "file". The ending stays.
    """
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    visible = "".join(it for it in last.translate(_TURNING) if it.isprintable())
    plain = visible.translate(_UNSAFE).strip(" .") or "file"
    stem, dot, ending = plain.rpartition(".")
    if len(plain) <= 150 or not dot or len(ending) > 10:
        return plain[:150]
    return f"{stem[: 149 - len(ending)]}.{ending}"
