"""Files of hosted work for tests: a file that is expected, and one that has arrived."""

from datetime import datetime
from pathlib import Path

from accounts.models import User
from jobs.files import storage
from jobs.models import StoredFile


def expect(
    user: User, *, most_bytes: int = 10_000, due_at: datetime | None = None
) -> StoredFile:
    """Return the row of a PNG that has not arrived."""
    return storage.expect(
        account_id=user.pk,
        purpose="photo",
        name="cat.png",
        content_type="image/png",
        most_bytes=most_bytes,
        due_at=due_at,
    )


def published(
    user: User,
    folder: Path,
    *,
    name: str = "cat.png",
    content_type: str = "image/png",
    content: bytes = b"content",
) -> StoredFile:
    """Store `content` by way of a file in `folder`, as a result of the engine."""
    source = folder / "published"
    source.write_bytes(content)
    return storage.publish(
        source,
        account_id=user.pk,
        purpose="photo",
        name=name,
        content_type=content_type,
    )
