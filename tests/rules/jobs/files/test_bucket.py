"""The files in an S3 bucket: the same promises as on the disk."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.files.storage import storages
from django.test import Client

from accounts.models import User
from focus.models import Failure
from focus.outgoing.object_storage import file_storage
from jobs.files import content_types, downloads, retention, storage, uploads
from jobs.files.bucket import BucketStorage
from jobs.models import StoredFile
from tests import s3
from tests.files import expect

pytestmark = pytest.mark.django_db

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 1000


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3.server(tmp_path_factory.mktemp("s3") / "log") as address:
        yield address


@pytest.fixture(autouse=True)
def bucket(
    address: str, settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Any]:
    """An empty bucket as the storage, configured by the environment's variables."""
    for name, value in s3.environment(address).items():
        monkeypatch.setenv(name, value)
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.STORAGES = settings.STORAGES | {"files": file_storage()}
    assert isinstance(storages["files"], BucketStorage)
    client = s3.client(address)
    yield client
    for key in keys(client):
        client.delete_object(Bucket=s3.BUCKET, Key=key)


def keys(bucket: Any) -> list[str]:
    listed = bucket.list_objects_v2(Bucket=s3.BUCKET)
    return [found["Key"] for found in listed.get("Contents", [])]


@pytest.fixture
def file(alice: User) -> StoredFile:
    return uploads.receive(
        [PNG], file=expect(alice, most_bytes=1_000_000), accepts=content_types.IMAGES
    )


def test_an_upload_becomes_one_private_object(file: StoredFile, bucket: Any) -> None:
    assert keys(bucket) == [file.key]
    head = bucket.head_object(Bucket=s3.BUCKET, Key=file.key)
    assert (head["ContentLength"], head["ContentType"]) == (len(PNG), "image/png")
    grants = bucket.get_object_acl(Bucket=s3.BUCKET, Key=file.key)["Grants"]
    assert not any("AllUsers" in str(grant) for grant in grants)


def test_a_refused_upload_becomes_no_object(alice: User, bucket: Any) -> None:
    with pytest.raises(uploads.WrongFileType):
        uploads.receive(
            [b"<svg>"],
            file=expect(alice, most_bytes=1_000_000),
            accepts=content_types.IMAGES,
        )
    assert keys(bucket) == []


def test_a_put_and_a_download_by_signed_addresses(alice: User) -> None:
    path = urlsplit(uploads.sign_put(expect(alice, most_bytes=1_000_000))).path
    client = Client()
    answer = client.put(path, PNG, content_type="image/png")
    assert answer.status_code == 200
    get = urlsplit(answer.json()["downloadUrl"]).path
    whole: Any = client.get(get)
    assert b"".join(whole.streaming_content) == PNG
    part: Any = client.get(get, headers={"Range": "bytes=1000-70999"})
    assert part.status_code == 206
    assert b"".join(part.streaming_content) == PNG[1000:71_000]
    head = client.head(get)
    assert head.headers["Content-Length"] == str(len(PNG))


def test_an_empty_object_is_read(alice: User, tmp_path: Path) -> None:
    source = tmp_path / "empty"
    source.write_bytes(b"")
    file = storage.publish(
        source,
        account_id=alice.pk,
        purpose="log",
        name="empty.txt",
        content_type="text/plain",
    )
    assert b"".join(storage.open_range(file, 0, 0)) == b""


def test_a_local_copy_has_the_content(file: StoredFile, tmp_path: Path) -> None:
    assert storage.local_copy(file, tmp_path, "source").read_bytes() == PNG


def test_a_forgotten_file_loses_its_object(file: StoredFile, bucket: Any) -> None:
    storage.forget([file.pk])
    assert retention.remove_due() == 1
    assert keys(bucket) == []
    assert not StoredFile.objects.exists()


def test_an_object_that_is_gone_is_404_and_a_failure(
    file: StoredFile, bucket: Any
) -> None:
    bucket.delete_object(Bucket=s3.BUCKET, Key=file.key)
    answer = Client().get(urlsplit(downloads.address(file)).path)
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
    with pytest.raises(FileNotFoundError):
        storage.local_copy(file, Path(storage.__file__).parent, "never")
    assert retention.sweep_orphans(prefix=file.key[:2]) == 1
    assert str(file.pk) in Failure.objects.get(healed_at=None).error


def test_an_object_without_a_row_is_removed(
    file: StoredFile, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = file.key[:2]
    bucket.put_object(Bucket=s3.BUCKET, Key=f"{prefix}/orphan", Body=b"x")
    assert retention.sweep_orphans(prefix=prefix) == 0
    monkeypatch.setattr(retention, "ORPHAN_AGE", timedelta(seconds=-60))
    assert retention.sweep_orphans(prefix=prefix) == 1
    assert keys(bucket) == [file.key]


def test_a_bucket_that_is_away_refuses_the_upload_and_leaves_it_repeatable(
    alice: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = expect(alice, most_bytes=1_000_000)
    with monkeypatch.context() as away:
        away.setenv("FILES_S3_ENDPOINT_URL", "http://127.0.0.1:9")
        settings.STORAGES = settings.STORAGES | {"files": file_storage()}
        path = urlsplit(uploads.sign_put(file)).path
        answer = Client().put(path, PNG, content_type="image/png")
        assert (answer.status_code, answer.json()["statusCode"]) == (500, 500)
    settings.STORAGES = settings.STORAGES | {"files": file_storage()}
    again = Client().put(path, PNG, content_type="image/png")
    assert again.status_code == 200
