"""The run of a restoration: what the engine is asked, and where its files go."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accounts.models import User
from jobs.files import storage
from jobs.files.quotas import FileQuotaSpent
from jobs.hosted import previews, prices, runs
from jobs.hosted.restorations import photo_files, photos
from jobs.hosted.sandbox import Limits, Refused
from jobs.models import Restoration, Run, StoredFile

APP, ACTION = "reviv", "restore"
LIMITS = Limits()
PREVIEW = "preview.jpg"
# By whether the photo's own file is lossless.
FULL = {False: "full.jpg", True: "full.png"}
TYPES = {".jpg": "image/jpeg", ".png": "image/png"}


@dataclass(frozen=True, slots=True)
class Results:
    """The engine's files, stored. They are removed in an hour unless `publish` runs."""

    full: StoredFile
    preview: StoredFile


def prepare(run: Run, folder: Path) -> dict[str, Any]:
    """Put the photo into the folder, and return the engine's request.

    A photo from a lossless file is restored losslessly, so one without damage keeps its
    exact pixels. One from a JPEG becomes a JPEG: as a PNG it would be ten times larger.
    """
    source = storage.local_copy(_original(run), folder, "source")
    with source.open("rb") as content:
        lossless = photo_files.read_header(content).lossless
    return {
        "source": source.name,
        "full": FULL[lossless],
        "preview": PREVIEW,
        "options": {name: run.request.get(name, False) for name in photos.OPTIONS},
    }


def collect(run: Run, answer: dict[str, Any], folder: Path) -> Results:
    """Store the engine's files."""
    stem = Path(_original(run).name).stem
    full = next(it for it in map(folder.joinpath, FULL.values()) if it.exists())

    def store(path: Path, purpose: str) -> StoredFile:
        return storage.publish(
            path,
            account_id=run.account_id,
            purpose=purpose,
            name=f"{stem}-{purpose}{path.suffix}",
            content_type=TYPES[path.suffix],
        )

    try:
        return Results(store(full, "restored"), store(folder / PREVIEW, "preview"))
    except FileQuotaSpent as spent:
        raise Refused("file_quota_spent", spent.message) from spent


def publish(run: Run, results: Results) -> int:
    """Give the restoration its files; returns the charge. In the run's transaction."""
    restoration = _restoration(run)
    restoration.full, restoration.preview = results.full, results.preview
    restoration.save(update_fields=["full", "preview"])
    files = [results.full.pk, results.preview.pk]
    storage.keep(files, due_at=restoration.expires_at)
    return prices.charge_of(run)


def settled(run: Run) -> None:
    """Note the account's first completed restoration."""
    first = User.objects.filter(pk=run.account_id, free_preview_used=False)
    first.update(free_preview_used=True)


def ended(run: Run) -> None:
    """Nothing to do: the restoration's state is its run's."""


def may_repeat(run: Run) -> bool:
    """Whether the photo is still stored."""
    live = Restoration.objects.filter(run=run, original__deleted_at=None)
    return live.filter(original__isnull=False).exists()


def _restoration(run: Run) -> Restoration:
    return Restoration.objects.select_related("original").get(run=run)


def _original(run: Run) -> StoredFile:
    restoration = Restoration.objects.select_related("original").filter(run=run).first()
    original = None if restoration is None else restoration.original
    if original is None or original.deleted_at is not None:
        raise Refused("photo_deleted", "The photo was deleted.", "Upload it again.")
    return original


runs.register(
    runs.HostedKind(
        name=photos.KIND,
        app_slug=APP,
        action=ACTION,
        command="restore",
        limits=LIMITS,
        prepare=prepare,
        collect=collect,
        publish=publish,
        ended=ended,
        settled=settled,
        may_repeat=may_repeat,
    )
)
previews.register(app_slug=APP, action=ACTION, reader=photos.pictures_of)
