"""The end of files: expiry, deletion, orphans, and files of closed accounts.

A file is removed in three steps, each of which a dead worker leaves to the next one:

1. The claim writes `deleted_at`, so addresses answer 404 from then on.
2. The object is removed. One that is gone already is no error.
3. The row is removed, if it still carries the lease of this claim.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from accounts.models import SecurityEvent, User
from focus.background import sweeps
from focus.bodies.arrivals import incoming_folder
from focus.due import NOW, Backoff, Queue
from jobs.files import storage
from jobs.models import StoredFile

# An object without a row, or a row without an object, is younger while it is written.
ORPHAN_AGE = timedelta(days=1)
# How long a closed account keeps its files, so that a reopened one has them.
CLOSED_KEPT = timedelta(days=7)
SWEEP = "jobs.sweep_files"
MOST_FAILURES = 3

QUEUE: Queue[StoredFile] = Queue(
    StoredFile.objects.all(),
    task="jobs.remove_files",
    lease=timedelta(minutes=5),
    backoff=Backoff(first=timedelta(seconds=30), longest=timedelta(hours=6)),
)


def remove_due(*, most: int = 1000) -> int:
    """Remove files that have expired or were deleted; returns how many.

    A storage that fails is recorded, and the file is tried again after its back-off.
    After `MOST_FAILURES` the rest waits for the next call: each one may take as long as
    the storage's time limits.
    """
    sweep, removed, failed = sweeps.Sweep("jobs.remove_files"), 0, 0
    for _ in range(most):
        if failed == MOST_FAILURES:
            break
        file = QUEUE.claim(deleted_at=NOW)
        if file is None:
            # A file that failed before is not due in its back-off, and is not removed.
            soon = StoredFile.objects.filter(due_at__lte=NOW + QUEUE.backoff.longest)
            sweep.end(complete=not soon.exclude(deleted_at=None).exists())
            break
        failed += 1
        with sweep.each(file.pk):
            try:
                storage.backend().remove(file.key)
            except Exception:
                QUEUE.retry(file)
                raise
            removed += _remove_row(file)
            failed -= 1
    return removed


def _remove_row(file: StoredFile) -> int:
    with transaction.atomic():
        claimed = QUEUE.claimed_row(file)
        if not claimed.select_for_update().exists():
            return 0
        # Rows that refer to the file, such as a restoration, get null.
        claimed.delete()
    return 1


@dataclass(frozen=True, slots=True)
class Differences:
    """Where the storage and the rows of one folder disagree."""

    # Objects without a row.
    orphans: list[str]
    # Files that have arrived and have no object: their content is lost.
    lost: list[StoredFile]


def compare(prefix: str) -> Differences:
    """Compare the objects of one folder with its rows.

    Objects younger than `ORPHAN_AGE` are no orphans. Costs a listing of the folder, two
    queries, and one look-up in the storage for each file that seems lost.
    """
    before = timezone.now() - ORPHAN_AGE
    changed = dict(storage.backend().keys(prefix))
    rows = StoredFile.objects.filter(key__startswith=f"{prefix}/")
    known = set(rows.values_list("key", flat=True))
    orphans = sorted(
        key for key, at in changed.items() if key not in known and at < before
    )
    live = rows.filter(arrived_at__isnull=False, deleted_at=None)
    # A file may have arrived since the listing.
    lost = [
        file
        for file in live.exclude(key__in=changed)
        if not storage.backend().has(file.key)
    ]
    # Or it was deleted before the look-up.
    still = live.filter(pk__in=[file.pk for file in lost])
    return Differences(orphans, list(still))


def sweep_orphans(*, prefix: str | None = None) -> int:
    """Compare one of the 256 folders; returns how many differences there were.

    Orphans are removed. A lost content is a failure for staff. By default the folder
    follows from the hour, so that an hourly task sees all of them in eleven days.
    """
    if prefix is None:
        hours = int(time.time() // 3600)
        prefix = storage.PREFIXES[hours % len(storage.PREFIXES)]
    found = compare(prefix)
    remove_orphans(found)
    _report(prefix, found.lost)
    return len(found.orphans) + len(found.lost)


def remove_orphans(found: Differences) -> None:
    for key in found.orphans:
        storage.backend().remove(key)


def _report(prefix: str, lost: list[StoredFile]) -> None:
    """Record a failure for the folder, or close the one it has."""
    subject = f"files in {prefix}/"
    if lost:
        ids = ", ".join(str(file.pk) for file in lost[:5])
        gone = FileNotFoundError(f"{len(lost)} files have no content: {ids}")
        sweeps.record_failure(task=SWEEP, subject=subject, failure=gone)
    else:
        sweeps.record_success(task=SWEEP, subject=subject)


def sweep_incoming() -> int:
    """Remove unfinished uploads of dead processes; returns how many.

    There are some only where the file system has no files without a name.
    """
    before, removed = timezone.now() - ORPHAN_AGE, 0
    for found in os.scandir(incoming_folder()):
        with suppress(FileNotFoundError):
            if datetime.fromtimestamp(found.stat().st_mtime, UTC) < before:
                os.unlink(found.path)
                removed += 1
    return removed


def forget_closed(*, batch: int = 1000) -> int:
    """Delete the files of accounts that closed before `CLOSED_KEPT` ago.

    Returns how many. An account that was reopened, or closed again since, keeps them.
    """
    closed = SecurityEvent.objects.filter(user=OuterRef("pk"), kind="account_closed")
    recent = closed.filter(at__gte=timezone.now() - CLOSED_KEPT)
    with_files = StoredFile.objects.filter(account=OuterRef("pk"), deleted_at=None)
    accounts = User.objects.filter(
        Exists(with_files), Exists(closed), ~Exists(recent), is_active=False
    )
    count = 0
    for account_id in accounts.values_list("pk", flat=True)[:batch]:
        with transaction.atomic():
            # Reopening locks the account, so it either keeps its files or finds none.
            row = User.objects.select_for_update(no_key=True).filter(
                pk=account_id, is_active=False
            )
            if row.exists():
                live = StoredFile.objects.filter(account=account_id, deleted_at=None)
                ids = list(live.values_list("pk", flat=True))
                storage.forget(ids)
                count += len(ids)
    return count
