"""How much an account may store, and how much of the disk stays free."""

import uuid

from django.conf import settings
from django.db.models import Q, Sum
from django.db.models.functions import Coalesce, Now

from focus.bodies.arrivals import require_disk, size_in_words
from focus.database import locks
from focus.errors import DomainError
from jobs.models import StoredFile

# A file that was deleted or has expired is gone, also before a worker removes it.
LIVE = Q(deleted_at=None) & (Q(due_at=None) | Q(due_at__gt=Now()))


class FileQuotaSpent(DomainError):
    """The account's files and this one exceed its quota.

    Facts: `used_bytes`, `quota_bytes`.
    """

    code = "file_quota_spent"


def used_bytes(*, account_id: uuid.UUID) -> int:
    """Return what the account's files take, with what its uploads may still bring."""
    live = StoredFile.objects.filter(LIVE, account_id=account_id)
    used: int | None = live.aggregate(it=Sum(Coalesce("size", "most_bytes")))["it"]
    return used or 0


def require_room(*, account_id: uuid.UUID, size: int) -> None:
    """Raise `FileQuotaSpent` or `DiskLow` unless `size` more bytes fit.

    Call it before anything is reserved. It locks nothing, so parallel calls may all
    pass; `jobs.files.storage.expect` asks again under a lock.
    """
    require_quota(account_id=account_id, size=size)
    require_disk(size=size)


def require_quota(*, account_id: uuid.UUID, size: int) -> None:
    """Raise `FileQuotaSpent` if the account's files and `size` exceed the quota."""
    used, quota = used_bytes(account_id=account_id), settings.FILES_QUOTA_BYTES
    if used + size > quota:
        raise FileQuotaSpent(
            f"Your files may take {size_in_words(quota)} together. Delete some first.",
            used_bytes=used,
            quota_bytes=quota,
        )


def lock_files(*, account_id: uuid.UUID) -> None:
    """Wait until no other transaction adds files of this account.

    The lock ends with the caller's transaction.
    """
    locks.lock(f"files:{account_id}")
