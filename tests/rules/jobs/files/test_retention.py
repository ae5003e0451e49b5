"""Files end: by expiry, deletion, as orphans, and with their account."""

import io
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import storages
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import SecurityEvent, User
from accounts.signin import closing
from focus.bodies.arrivals import incoming_folder
from focus.models import Failure
from jobs.files import retention, storage
from jobs.models import StoredFile
from tests import files

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def media(tmp_path: Path, settings: Any) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return Path(settings.MEDIA_ROOT)


@pytest.fixture
def file(alice: User, tmp_path: Path) -> StoredFile:
    return published(alice, tmp_path)


def published(user: User, tmp_path: Path) -> StoredFile:
    file = files.published(user, tmp_path)
    storage.keep([file.pk], due_at=timezone.now() + DAY)
    return file


def path_of(file: StoredFile) -> Path:
    return Path(storage.backend().path(file.key))


def make_old(path: Path) -> None:
    old = (timezone.now() - 2 * DAY).timestamp()
    os.utime(path, (old, old))


class TestRemoval:
    def test_a_file_stays_until_its_time(self, file: StoredFile) -> None:
        assert retention.remove_due() == 0
        assert path_of(file).exists()

    def test_an_expired_file_is_removed_with_its_object(self, file: StoredFile) -> None:
        StoredFile.objects.update(due_at=timezone.now())
        assert retention.remove_due() == 1
        assert not path_of(file).exists()
        assert not StoredFile.objects.exists()

    def test_a_forgotten_file_is_removed_with_its_object(
        self, file: StoredFile
    ) -> None:
        storage.forget([file.pk])
        assert retention.remove_due() == 1
        assert not path_of(file).exists()
        assert not StoredFile.objects.exists()

    def test_an_upload_that_never_came_is_removed(self, alice: User) -> None:
        storage.expect(
            account_id=alice.pk,
            purpose="photo",
            name="x",
            content_type="image/png",
            most_bytes=10,
            due_at=timezone.now(),
        )
        assert retention.remove_due() == 1
        assert not StoredFile.objects.exists()

    def test_a_file_that_is_kept_for_good_is_never_due(self, file: StoredFile) -> None:
        storage.keep([file.pk], due_at=None)
        StoredFile.objects.update(created_at=timezone.now() - 1000 * DAY)
        assert retention.remove_due() == 0

    def test_a_worker_that_died_after_the_object_leaves_the_row_to_the_next(
        self, file: StoredFile
    ) -> None:
        storage.forget([file.pk])
        claimed = retention.QUEUE.claim()
        assert claimed is not None
        storage.backend().remove(claimed.key)
        StoredFile.objects.update(due_at=timezone.now())  # the lease ended
        assert retention.remove_due() == 1
        assert not StoredFile.objects.exists()

    def test_a_stalled_worker_removes_no_row_of_another(self, file: StoredFile) -> None:
        storage.forget([file.pk])
        stalled = retention.QUEUE.claim()
        assert stalled is not None
        StoredFile.objects.update(due_at=timezone.now())
        assert retention.QUEUE.claim() is not None
        assert retention._remove_row(stalled) == 0
        assert StoredFile.objects.exists()

    def test_a_storage_that_fails_is_recorded_and_asked_again(
        self, file: StoredFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage.forget([file.pk])

        def fails(key: str) -> None:
            raise PermissionError(key)

        with monkeypatch.context() as broken:
            broken.setattr(storages["files"], "remove", fails)
            assert retention.remove_due() == 0
        failure = Failure.objects.get(healed_at=None)
        assert (failure.task, failure.subject) == ("jobs.remove_files", str(file.pk))
        row = StoredFile.objects.get()
        assert row.deleted_at is not None
        assert row.due_at is not None
        assert row.due_at > timezone.now()
        StoredFile.objects.update(due_at=timezone.now())
        assert retention.remove_due() == 1
        assert not Failure.objects.filter(healed_at=None).exists()

    def test_a_storage_that_is_gone_is_asked_three_times_and_stays_a_failure(
        self, alice: User, tmp_path: Path, media: Path
    ) -> None:
        storage.forget([published(alice, tmp_path).pk for _ in range(5)])
        folder = Path(storage.backend().location)
        folder.rename(tmp_path / "away")
        folder.write_text("no folder")
        assert retention.remove_due() == 0
        still_open = Failure.objects.filter(healed_at=None)
        assert still_open.count() == 3
        # Nothing is due for a while, and the storage is still gone.
        StoredFile.objects.update(due_at=timezone.now() + timedelta(minutes=1))
        still_open.update(last_at=timezone.now() - timedelta(minutes=1))
        assert retention.remove_due() == 0
        assert still_open.count() == 3
        folder.unlink()
        (tmp_path / "away").rename(folder)
        StoredFile.objects.update(due_at=timezone.now())
        assert retention.remove_due() == 5
        assert not still_open.exists()


class TestOrphans:
    def test_an_old_object_without_a_row_is_removed_and_a_young_one_stays(
        self, file: StoredFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prefix = file.key[:2]
        orphan = path_of(file).parent / "orphan"
        orphan.write_bytes(b"x")
        assert retention.sweep_orphans(prefix=prefix) == 0
        assert orphan.exists()
        monkeypatch.setattr(retention, "ORPHAN_AGE", timedelta(seconds=-60))
        assert retention.sweep_orphans(prefix=prefix) == 1
        assert not orphan.exists()
        assert path_of(file).exists()

    def test_a_lost_content_is_a_failure_until_it_is_back(
        self, file: StoredFile
    ) -> None:
        prefix, path = file.key[:2], path_of(file)
        content = path.read_bytes()
        path.unlink()
        assert retention.sweep_orphans(prefix=prefix) == 1
        failure = Failure.objects.get(healed_at=None)
        assert failure.subject == f"files in {prefix}/"
        assert str(file.pk) in failure.error
        path.write_bytes(content)
        assert retention.sweep_orphans(prefix=prefix) == 0
        assert not Failure.objects.filter(healed_at=None).exists()

    def test_a_deleted_file_is_neither_lost_nor_an_orphan(
        self, file: StoredFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage.forget([file.pk])
        monkeypatch.setattr(retention, "ORPHAN_AGE", timedelta(seconds=-60))
        assert retention.sweep_orphans(prefix=file.key[:2]) == 0
        path_of(file).unlink()
        assert retention.sweep_orphans(prefix=file.key[:2]) == 0

    def test_every_folder_has_its_hour(self, monkeypatch: pytest.MonkeyPatch) -> None:
        looked: list[str] = []

        def looks(prefix: str) -> retention.Differences:
            looked.append(prefix)
            return retention.Differences([], [])

        monkeypatch.setattr(retention, "compare", looks)
        hours = iter(range(256))
        monkeypatch.setattr("time.time", lambda: 3600.0 * next(hours))
        for _ in range(256):
            retention.sweep_orphans()
        assert set(looked) == set(storage.PREFIXES)

    def test_an_unfinished_upload_with_a_name_is_removed_after_a_day(self) -> None:
        young, old = incoming_folder() / "a.part", incoming_folder() / "b.part"
        for path in (young, old):
            path.write_bytes(b"half")
        make_old(old)
        assert retention.sweep_incoming() == 1
        assert young.exists()
        assert not old.exists()

    def test_the_command_names_what_differs(
        self, file: StoredFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(retention, "ORPHAN_AGE", timedelta(seconds=-60))
        orphan = path_of(file).parent / "orphan"
        orphan.write_bytes(b"x")
        out, errors = io.StringIO(), io.StringIO()
        call_command("check_files", stdout=out, stderr=errors)
        assert f"without a file: {file.key[:2]}/orphan" in out.getvalue()
        assert orphan.exists()
        call_command("check_files", "--remove", stdout=out, stderr=errors)
        assert not orphan.exists()
        path_of(file).unlink()
        with pytest.raises(CommandError, match=r"1 file\(s\) is lost"):
            call_command("check_files", stdout=out, stderr=errors)
        assert str(file.pk) in errors.getvalue()


class TestClosedAccounts:
    def test_files_stay_for_seven_days_after_the_closing(
        self, alice: User, file: StoredFile
    ) -> None:
        closing.close(user=alice, actor="staff")
        assert retention.forget_closed() == 0

    def test_files_of_an_account_that_closed_long_ago_are_deleted(
        self, alice: User, bob: User, file: StoredFile, tmp_path: Path
    ) -> None:
        theirs = published(bob, tmp_path)
        long_ago = timezone.now() - retention.CLOSED_KEPT - DAY
        SecurityEvent.objects.create(user=alice, kind="account_closed", at=long_ago)
        User.objects.filter(pk=alice.pk).update(is_active=False)
        assert retention.forget_closed() == 1
        assert retention.remove_due() == 1
        assert not path_of(file).exists()
        assert path_of(theirs).exists()

    def test_a_reopened_account_keeps_its_files(
        self, alice: User, file: StoredFile
    ) -> None:
        long_ago = timezone.now() - retention.CLOSED_KEPT - DAY
        SecurityEvent.objects.create(user=alice, kind="account_closed", at=long_ago)
        assert retention.forget_closed() == 0

    def test_an_account_that_closed_again_keeps_them_for_seven_more_days(
        self, alice: User, file: StoredFile
    ) -> None:
        long_ago = timezone.now() - retention.CLOSED_KEPT - DAY
        SecurityEvent.objects.create(user=alice, kind="account_closed", at=long_ago)
        closing.close(user=alice, actor="staff")
        assert retention.forget_closed() == 0
