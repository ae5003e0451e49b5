"""Photos that an account has restored: at most 6 at a time, kept for 60 days."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import BinaryIO
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from focus.background.sweeps import Sweep
from focus.bodies.arrivals import Arrival
from focus.database import locks
from focus.errors import DomainError, NotFound
from jobs.files import downloads, storage, uploads
from jobs.hosted import runs
from jobs.hosted.restorations import photo_files
from jobs.models import Restoration, Run, StoredFile

MOST_PHOTOS = 6
KEPT = timedelta(days=60)
MOST_BYTES = 10 * 1024 * 1024
SHORTEST_SIDE = 500
MOST_PIXELS = 40_000_000
# The copy without metadata may have one byte of padding more.
PADDING = 1
# The name of the runs that restore a photo: `jobs.hosted.restorations.restoring`.
KIND = "restore"
OPTIONS = ("keep_original_colors", "generated_detail")


class HistoryLimit(DomainError):
    """The account has as many photos as it may. Facts: `max_jobs`."""

    code = "history_limit"


class BadPhoto(DomainError):
    """The file is not a photo that can be restored.

    Facts: `image`, a list with the guide's sentence. The message says more where there
    is more to say.
    """

    code = "validation_error"


class InvalidState(DomainError):
    """The restoration is not completed. Facts: `status`."""

    code = "invalid_state"


class AlreadyUnlocked(DomainError):
    code = "already_unlocked"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a restoration's files open now; None for a file that may not or cannot."""

    original: str | None
    preview: str | None
    full: str | None


NO_FILE = "No file was submitted."
NO_IMAGE = "Invalid image file"
TOO_LARGE = "File must be under 10MB"
WRONG_FORMAT = "Only JPG, PNG, WEBP formats allowed"
TOO_SMALL = "Image must be at least 500px on shortest side"
TOO_MANY_PIXELS = "Image must be at most 40 megapixels"
_NOT_YET = "The photo is not restored yet. Try again when its status is completed."
_NOT_COMPLETED = {
    "pending": _NOT_YET,
    "processing": _NOT_YET,
    "failed": "The restoration failed, so there is no restored photo to unlock. Delete"
    " it and upload the photo again.",
}
GONE = "The restored photo does not exist any more."


def bad_photo(reason: str, message: str | None = None) -> BadPhoto:
    """Return the refusal with one of the guide's sentences."""
    return BadPhoto(message or reason, image=[reason])


def require_place(*, account_id: UUID) -> None:
    """Raise `HistoryLimit` if the account has no place for one more photo.

    Takes one query and no lock. `add` asks again under a lock.
    """
    if unexpired().filter(account_id=account_id).count() >= MOST_PHOTOS:
        raise HistoryLimit(
            f"You can have {MOST_PHOTOS} photos at a time. Delete one first.",
            max_jobs=MOST_PHOTOS,
        )


def receive(arrival: Arrival, *, account_id: UUID, name: str) -> StoredFile:
    """Check an uploaded photo, and store it without its metadata. Not in a transaction.

    What is shown and restored is the copy: the upload itself, with the place where the
    photo was taken, is never stored. The file is removed in an hour unless `add` keeps
    it. Raises `BadPhoto`, `quotas.FileQuotaSpent`, `DiskLow` or `StorageFailed`.
    """
    with Arrival(most_bytes=MOST_BYTES + PADDING) as copy:
        with arrival.open() as source:
            header = _checked_copy(source, copy)
        return uploads.take(
            copy,
            account_id=account_id,
            purpose="photo",
            name=name,
            content_type=header.content_type,
        )


def _checked_copy(source: BinaryIO, copy: Arrival) -> photo_files.Header:
    try:
        header = photo_files.copy_without_metadata(source, copy.write)
    except photo_files.OtherFormat:
        raise bad_photo(WRONG_FORMAT) from None
    except photo_files.Animated:
        message = "The file is an animation. Upload a still photo."
        raise bad_photo(NO_IMAGE, message) from None
    except photo_files.UnreadablePhoto:
        message = "The file is no photo, or it is damaged or cut short."
        raise bad_photo(NO_IMAGE, message) from None
    if min(header.width, header.height) < SHORTEST_SIDE:
        raise bad_photo(TOO_SMALL)
    if header.width * header.height > MOST_PIXELS:
        raise bad_photo(TOO_MANY_PIXELS)
    return header


def discard(photo: StoredFile) -> None:
    """Forget a received photo, unless a restoration keeps it.

    The answer to a commit may have been lost, so look whether it arrived.
    """
    if not Restoration.objects.filter(original=photo).exists():
        storage.forget([photo.pk])


@transaction.atomic
def add(
    *, account_id: UUID, photo: StoredFile, options: Mapping[str, bool]
) -> Restoration:
    """Start the restoration of a received photo, and keep the photo.

    Raises `HistoryLimit`, and as `runs.start`; then nothing is written, and the caller
    forgets the file. Locks the account's photos, so that parallel calls count each
    other's, and then the wallet.
    """
    # Not the account's row: a first consent locks the wallet before that row, and the
    # start of the run locks the wallet.
    locks.lock(f"photos:{account_id}")
    require_place(account_id=account_id)
    expires_at = timezone.now() + KEPT
    run = runs.start(
        kind=KIND,
        account_id=account_id,
        request={name: bool(options.get(name)) for name in OPTIONS},
        description=f"Restoration of {photo.name}",
    )
    restoration = Restoration.objects.create(
        account_id=account_id, run=run, original=photo, expires_at=expires_at
    )
    storage.keep([photo.pk], due_at=expires_at)
    return restoration


def unexpired() -> QuerySet[Restoration]:
    """Return all restorations that readers see: time hides one before any sweep."""
    return Restoration.objects.filter(expires_at__gt=Now())


def history(*, account_id: UUID) -> list[Restoration]:
    """Return the account's photos, newest first. Takes one query."""
    own = _with_parts().filter(account_id=account_id)
    return list(own.order_by("-created_at", "-pk")[:MOST_PHOTOS])


def find(*, account_id: UUID, restoration_id: int) -> Restoration:
    """Return one of the account's photos. Takes one query. Raises `NotFound`."""
    return _one(_with_parts(), account_id, restoration_id)


def lock(*, account_id: UUID, restoration_id: int) -> Restoration:
    """As `find`, and lock the row until the transaction ends."""
    locked = _with_parts().select_for_update(no_key=True, of=("self",))
    return _one(locked, account_id, restoration_id)


def _with_parts() -> QuerySet[Restoration]:
    return unexpired().select_related("run", "original", "preview", "full")


def _one(
    among: QuerySet[Restoration], account_id: UUID, restoration_id: int
) -> Restoration:
    found = among.filter(account_id=account_id, pk=restoration_id).first()
    if found is None:
        raise NotFound("You have no such photo.")
    return found


def status_of(restoration: Restoration) -> str:
    """Return the guide's word for the state of a restoration's run."""
    return STATUSES[Run.State(restoration.run.state)]


STATUSES = {
    Run.State.QUEUED: "pending",
    Run.State.RUNNING: "processing",
    Run.State.DONE: "completed",
    Run.State.FAILED: "failed",
    # By staff. A person who cancels deletes the photo.
    Run.State.CANCELLED: "failed",
}


def addresses_of(restoration: Restoration) -> Addresses:
    """Return where the files open. A locked photo's full image has no address."""
    unlocked = restoration.unlocked_at is not None
    return Addresses(
        original=_address(restoration.original),
        preview=_address(restoration.preview),
        full=_address(restoration.full) if unlocked else None,
    )


def _address(file: StoredFile | None) -> str | None:
    if file is None or file.deleted_at is not None:
        return None
    return downloads.address(file)


def pictures_of(job_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return an address of the picture of each Focus job: the preview with its
    watermark, or before that the photo. One query.
    """
    found = _with_parts().filter(run__job_id__in=job_ids)
    pictures = {}
    for restoration in found:
        addresses = addresses_of(restoration)
        if picture := addresses.preview or addresses.original:
            pictures[restoration.run.job_id] = picture
    return pictures


def require_locked(restoration: Restoration) -> None:
    """Raise unless the photo can be unlocked: it is completed, and still locked.

    Raises `InvalidState`, `AlreadyUnlocked`, and `NotFound` where staff have deleted
    the full image: it must not be paid for.
    """
    status = status_of(restoration)
    if status != "completed":
        raise InvalidState(_NOT_COMPLETED[status], status=status)
    if restoration.unlocked_at is not None:
        raise AlreadyUnlocked("This photo is already unlocked.")
    if _address(restoration.full) is None:
        raise NotFound(GONE)


def unlock(
    restoration: Restoration, *, method: str, movement_id: UUID | None = None
) -> None:
    """Write that a photo is unlocked. The caller holds its lock (`lock`).

    Raises `NotFound` if the full image is deleted at the same time. Locks its row.
    """
    if restoration.full_id is None:
        raise NotFound(GONE)
    storage.keep([restoration.full_id], due_at=restoration.expires_at)
    restoration.unlock_method = method
    restoration.unlock_movement_id = movement_id
    restoration.unlocked_at = timezone.now()
    restoration.save(
        update_fields=["unlock_method", "unlock_movement_id", "unlocked_at"]
    )


@transaction.atomic
def remove(*, account_id: UUID, restoration_id: int) -> None:
    """Delete a photo, its files and their addresses; stop its run. Raises `NotFound`.

    Locks the run, then the restoration: the order of a worker that publishes a result.
    """
    found = find(account_id=account_id, restoration_id=restoration_id)
    if not _remove(found.pk):
        raise NotFound("You have no such photo.")


def remove_expired(*, limit: int = 1000) -> int:
    """Delete at most `limit` photos that are older than 60 days; returns how many.

    Each has a transaction of its own. One that fails is recorded and stops no other.
    """
    sweep, done = Sweep("jobs.remove_expired_photos"), 0
    expired = (
        Restoration.objects.filter(expires_at__lte=Now())
        .exclude(pk__in=sweep.backing_off)
        .order_by("expires_at", "pk")
        .values_list("pk", flat=True)
    )
    found = list(expired[:limit])
    for restoration_id in found:
        with sweep.each(restoration_id):
            done += _remove(restoration_id)
    sweep.end(complete=len(found) < limit)
    return done


@transaction.atomic
def _remove(restoration_id: int) -> bool:
    """Delete one photo. Returns False if another call has deleted it."""
    of_photo = Restoration.objects.filter(pk=restoration_id)
    run_id = of_photo.values_list("run_id", flat=True).first()
    if run_id is None:
        return False
    runs.cancel(run_id=run_id)
    found = of_photo.select_for_update().first()
    if found is None:
        return False
    storage.forget([found.original_id, found.preview_id, found.full_id])
    found.delete()
    return True
