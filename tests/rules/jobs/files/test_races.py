"""Files on real connections: the quota, two uploads to one address, a full disk."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction
from django.utils import timezone

from accounts.models import User
from focus.errors import DomainError, NotFound
from jobs.files import content_types, quotas, retention, storage, uploads
from jobs.models import StoredFile
from tests.files import expect
from tests.rules.accounts.test_races import at_once

pytestmark = pytest.mark.django_db(transaction=True)

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def media(tmp_path: Path, settings: Any) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return Path(settings.MEDIA_ROOT)


def receive(file: StoredFile, content: bytes) -> StoredFile:
    return uploads.receive([content], file=file, accepts=content_types.IMAGES)


def outcome(work: Any) -> str:
    try:
        work()
    except DomainError as refusal:
        return refusal.code
    return "done"


def objects(media: Path) -> list[Path]:
    return [path for path in media.rglob("*") if path.is_file()]


def test_parallel_uploads_never_pass_the_quota(alice: User, settings: Any) -> None:
    settings.FILES_QUOTA_BYTES = 30_000
    ended = at_once(12, lambda: outcome(lambda: expect(alice)))
    assert sorted(ended) == ["done"] * 3 + ["file_quota_spent"] * 9
    assert quotas.used_bytes(account_id=alice.pk) == 30_000


def test_accounts_do_not_wait_for_each_other(alice: User, bob: User) -> None:
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                quotas.lock_files(account_id=alice.pk)
                locked.set()
                done.wait(60)
        finally:
            connections.close_all()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert locked.wait(60)
        assert expect(bob).account_id == bob.pk
    finally:
        done.set()
        holder.join()


def test_of_many_uploads_to_one_address_one_is_stored_whole(
    alice: User, media: Path
) -> None:
    file = expect(alice)
    numbers = iter(range(100))
    lock = threading.Lock()

    def upload() -> str:
        with lock:
            content = PNG + bytes([next(numbers)]) * 9000
        mine = StoredFile.objects.get(pk=file.pk)
        return outcome(lambda: receive(mine, content))

    ended = at_once(8, upload)
    assert sorted(set(ended)) == ["done", "upload_used"]
    assert ended.count("done") == 1
    [object_] = objects(media)
    stored = StoredFile.objects.get()
    assert object_ == Path(storage.backend().path(stored.key))
    content = object_.read_bytes()
    assert len(set(content[len(PNG) :])) == 1
    assert bytes(stored.sha256 or b"") == hashlib.sha256(content).digest()


def test_an_upload_that_was_overtaken_removes_its_object(
    alice: User, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = expect(alice)
    first, second = PNG + b"first", PNG + b"second"
    backend = storage.backend()
    adopt = backend.adopt

    def overtaken(arrival: Any, key: str, *, content_type: str) -> None:
        adopt(arrival, key, content_type=content_type)
        monkeypatch.setattr(backend, "adopt", adopt)
        receive(StoredFile.objects.get(pk=file.pk), second)

    monkeypatch.setattr(backend, "adopt", overtaken)
    with pytest.raises(storage.AlreadyArrived):
        receive(StoredFile.objects.get(pk=file.pk), first)
    [object_] = objects(media)
    assert object_.read_bytes() == second


def test_an_upload_to_a_file_that_is_deleted_meanwhile_stores_nothing(
    alice: User, media: Path
) -> None:
    file = expect(alice)

    def pieces() -> Any:
        yield PNG
        storage.forget([file.pk])
        yield b"more"

    with pytest.raises(NotFound):
        uploads.receive(pieces(), file=file, accepts=content_types.IMAGES)
    assert objects(media) == []


def test_of_keeping_and_expiring_at_once_one_happens(alice: User, media: Path) -> None:
    later = timezone.now() + timedelta(days=1)
    files = [receive(expect(alice, most_bytes=100), PNG) for _ in range(20)]
    StoredFile.objects.update(due_at=timezone.now())
    kept: list[str] = []

    def keep() -> None:
        for file in files:
            kept.append(outcome(partial(storage.keep, [file.pk], due_at=later)))

    works: Iterator[Callable[[], object]] = iter(
        [keep, retention.remove_due, retention.remove_due]
    )
    lock = threading.Lock()

    def work() -> None:
        with lock:
            mine = next(works)
        mine()

    at_once(3, work)
    retention.remove_due()
    left = StoredFile.objects.count()
    assert kept.count("done") == left == len(objects(media))
    assert set(kept) <= {"done", "not_found"}
    assert not StoredFile.objects.filter(deleted_at__isnull=False).exists()


def test_two_workers_remove_each_file_once(alice: User, media: Path) -> None:
    for _ in range(30):
        receive(expect(alice, most_bytes=100), PNG)
    StoredFile.objects.update(due_at=timezone.now())
    assert sum(at_once(4, retention.remove_due)) == 30
    assert objects(media) == []


def test_a_file_is_not_expected_inside_a_transaction(alice: User) -> None:
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
        expect(alice)
