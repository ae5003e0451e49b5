"""Rows, addresses and objects of files, for tests with a server of its own process."""

from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.utils import timezone

from accounts.models import User
from jobs.files import downloads, storage, uploads
from jobs.models import StoredFile

MP4 = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41"


def expected(user: User, *, most_bytes: int) -> StoredFile:
    """Return a file that waits for its content, a video."""
    return storage.expect(
        account_id=user.pk,
        purpose="source",
        name="match.mp4",
        content_type="video/mp4",
        most_bytes=most_bytes,
        due_at=timezone.now() + timedelta(hours=2),
    )


def put_path(file: StoredFile) -> str:
    return urlsplit(uploads.sign_put(file)).path


def get_path(file: StoredFile) -> str:
    return urlsplit(downloads.address(file)).path


def on_disk() -> list[Path]:
    """Return all objects and named temporary files."""
    return [path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()]


def open_in(pid: int) -> list[str]:
    """Return the files below MEDIA_ROOT that a process has open, also unnamed ones."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue
        if target.startswith(str(settings.MEDIA_ROOT)):
            found.append(target)
    return found
