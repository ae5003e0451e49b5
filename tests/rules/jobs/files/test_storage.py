"""Files on the disk: rows first, objects after, and nothing left of a failure."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from focus.bodies.arrivals import Arrival, DiskLow, FileTooLarge
from focus.errors import NotFound
from jobs.files import content_types, quotas, storage, uploads
from jobs.files.quotas import FileQuotaSpent
from jobs.models import StoredFile
from tests.files import expect

pytestmark = pytest.mark.django_db

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels" * 1000


@pytest.fixture(autouse=True)
def media(tmp_path: Path, settings: Any) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return Path(settings.MEDIA_ROOT)


def objects(media: Path) -> list[Path]:
    return sorted(path for path in media.rglob("*") if path.is_file())


def receive(file: StoredFile, content: bytes = PNG, **more: Any) -> StoredFile:
    pieces = (content[at : at + 1000] for at in range(0, len(content), 1000))
    return uploads.receive(pieces, file=file, accepts=content_types.IMAGES, **more)


def test_an_upload_is_stored_whole_with_its_size_and_digest(
    alice: User, media: Path
) -> None:
    file = receive(expect(alice))
    stored = StoredFile.objects.get()
    assert (stored.size, stored.content_type) == (len(PNG), "image/png")
    assert stored.arrived_at is not None
    assert b"".join(storage.open_range(file, 0, len(PNG))) == PNG
    [object_] = objects(media)
    assert object_.stat().st_mode & 0o777 == 0o400


@pytest.mark.parametrize(
    ("content", "more", "refusal"),
    [
        (PNG + b"x" * 10_000, {}, FileTooLarge),
        (b"<html>" * 100, {}, uploads.WrongFileType),
        (b"", {}, uploads.WrongFileType),
        (PNG, {"length": len(PNG) + 1}, uploads.BodyTooShort),
    ],
    ids=["too large", "another type", "empty", "too short"],
)
def test_a_refused_upload_leaves_no_object_and_may_be_repeated(
    alice: User, media: Path, content: bytes, more: Any, refusal: type[Exception]
) -> None:
    file = expect(alice)
    with pytest.raises(refusal):
        receive(file, content, **more)
    assert objects(media) == []
    assert receive(file).size == len(PNG)


def test_a_second_upload_to_the_same_file_is_refused(alice: User, media: Path) -> None:
    file = expect(alice)
    receive(file)
    with pytest.raises(storage.AlreadyArrived):
        receive(file, PNG + b"other")
    assert b"".join(storage.open_range(file, 0, 20_000)) == PNG
    assert len(objects(media)) == 1


def test_a_published_file_is_a_copy_that_goes_away_unless_it_is_kept(
    alice: User, media: Path, tmp_path: Path
) -> None:
    result = tmp_path / "out.png"
    result.write_bytes(PNG)
    file = storage.publish(
        result,
        account_id=alice.pk,
        purpose="full",
        name="out.png",
        content_type="image/png",
    )
    assert file.due_at is not None
    assert file.due_at <= timezone.now() + storage.UNKEPT
    result.write_bytes(b"changed")
    assert b"".join(storage.open_range(file, 0, len(PNG))) == PNG
    later = timezone.now() + timedelta(days=60)
    with transaction.atomic():
        storage.keep([file.pk], due_at=later)
    assert StoredFile.objects.get().due_at == later


def test_a_symbolic_link_is_not_published(
    alice: User, media: Path, tmp_path: Path
) -> None:
    link = tmp_path / "out.png"
    link.symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic"):
        storage.publish(
            link,
            account_id=alice.pk,
            purpose="full",
            name="x",
            content_type="image/png",
        )
    assert objects(media) == []
    assert not StoredFile.objects.exists()


def test_a_forgotten_file_cannot_be_kept_and_its_room_is_free(alice: User) -> None:
    file = receive(expect(alice))
    storage.forget([file.pk, None])
    assert quotas.used_bytes(account_id=alice.pk) == 0
    with pytest.raises(NotFound):
        storage.keep([file.pk], due_at=None)


def test_a_local_copy_is_read_only_and_has_the_content(
    alice: User, tmp_path: Path
) -> None:
    file = receive(expect(alice))
    copy = storage.local_copy(file, tmp_path, "source")
    assert copy.read_bytes() == PNG
    assert copy.stat().st_mode & 0o222 == 0


def test_the_quota_counts_what_may_still_arrive(alice: User, settings: Any) -> None:
    settings.FILES_QUOTA_BYTES = 20_000
    expect(alice)
    receive(expect(alice, most_bytes=10_000))
    left = 20_000 - 10_000 - len(PNG)
    quotas.require_room(account_id=alice.pk, size=left)
    with pytest.raises(FileQuotaSpent) as refusal:
        expect(alice, most_bytes=left + 1)
    assert refusal.value.facts == {
        "used_bytes": 10_000 + len(PNG),
        "quota_bytes": 20_000,
    }
    assert StoredFile.objects.count() == 2


def test_a_low_disk_is_refused_before_anything_is_written(
    alice: User, media: Path, settings: Any
) -> None:
    settings.FILES_LEAST_FREE_BYTES = 10**18
    with pytest.raises(DiskLow):
        expect(alice)
    with pytest.raises(DiskLow):
        Arrival(most_bytes=1)
    assert objects(media) == []
    assert not StoredFile.objects.exists()


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("cat.png", "cat.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\cat.png", "cat.png"),
        ("\u202egpj.exe", "gpj.exe"),
        ("a\r\nb\x00.png", "ab.png"),
        ("...", "file"),
        ("", "file"),
        ("Grüße 100%.png", "Grüße 100_.png"),
        ("x" * 300 + ".jpeg", "x" * 145 + ".jpeg"),
        ("\ud800.png", "png"),
    ],
)
def test_names_are_safe_on_every_system(name: str, clean: str) -> None:
    assert storage.clean_name(name) == clean
