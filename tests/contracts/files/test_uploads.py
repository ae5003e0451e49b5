"""PUT /files/upload/{token}: the bytes of one file, to an address signed for it."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.signin import closing
from jobs.files import downloads, storage, uploads
from jobs.models import StoredFile

pytestmark = pytest.mark.django_db

MP4 = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41" + b"frames" * 20_000


@pytest.fixture(autouse=True)
def media(tmp_path: Path, settings: Any) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return Path(settings.MEDIA_ROOT)


def sign(user: User, *, content_type: str = "video/mp4", most: int = 200_000) -> str:
    file = storage.expect(
        account_id=user.pk,
        purpose="source",
        name="match.mp4",
        content_type=content_type,
        most_bytes=most,
        due_at=timezone.now() + timedelta(hours=2),
    )
    return urlsplit(uploads.sign_put(file)).path


def put(client: Client, path: str, content: bytes = MP4, **more: Any) -> Any:
    more.setdefault("content_type", "video/mp4")
    return client.put(path, content, **more)


def refused(answer: Any) -> tuple[int, str]:
    said = answer.json()
    assert {"statusCode", "message", "error"} <= set(said)
    assert said["statusCode"] == answer.status_code
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    if answer.status_code == 403:
        assert "Ask for a new one" in said["message"]
    return answer.status_code, said["error"]


def stored_objects(media: Path) -> list[Path]:
    return [path for path in media.rglob("*") if path.is_file()]


def test_a_put_with_only_a_content_type_stores_the_file(
    client: Client, alice: User
) -> None:
    answer = put(client, sign(alice))
    file = StoredFile.objects.get()
    assert answer.status_code == 200
    said = answer.json()
    assert said["size"] == file.size == len(MP4)
    assert (said["key"], said["mimeType"]) == (str(file.pk), "video/mp4")
    download: Any = client.get(urlsplit(said["downloadUrl"]).path)
    assert b"".join(download.streaming_content) == MP4


def test_a_quicktime_file_may_arrive_as_another_video(
    client: Client, alice: User
) -> None:
    mov = b"\x00\x00\x00\x14ftypqt  " + b"x" * 1000
    assert put(client, sign(alice), mov).json()["mimeType"] == "video/quicktime"


def test_a_larger_body_is_413_before_it_is_read(
    client: Client, alice: User, media: Path
) -> None:
    path = sign(alice, most=len(MP4) - 1)
    assert refused(put(client, path)) == (413, "Request Entity Too Large")
    assert stored_objects(media) == []


@pytest.mark.parametrize(
    "content",
    [b"<html>" * 200, b"#EXTM3U\n" * 200, b"\x89PNG\r\n\x1a\n" * 200, b"", b"\x00"],
    ids=["html", "playlist", "image", "empty", "one byte"],
)
def test_content_of_another_type_is_415(
    client: Client, alice: User, media: Path, content: bytes
) -> None:
    path = sign(alice)
    assert refused(put(client, path, content)) == (415, "Unsupported Media Type")
    assert stored_objects(media) == []
    assert put(client, path).status_code == 200


def test_another_content_type_than_the_signed_one_is_415(
    client: Client, alice: User
) -> None:
    path = sign(alice)
    answer = put(client, path, content_type="image/png")
    assert refused(answer) == (415, "Unsupported Media Type")
    assert put(client, path, content_type="Video/MP4; codecs=x").status_code == 200


def test_a_finished_upload_uses_up_its_address(client: Client, alice: User) -> None:
    path = sign(alice)
    assert put(client, path).status_code == 200
    assert refused(put(client, path, MP4 + b"more")) == (403, "Forbidden")
    assert StoredFile.objects.get().size == len(MP4)


def test_an_address_ends_after_an_hour(client: Client, alice: User) -> None:
    path = sign(alice)
    with time_machine.travel(timezone.now() + timedelta(hours=1, seconds=2)):
        assert refused(put(client, path)) == (403, "Forbidden")


def test_a_changed_address_is_403(client: Client, alice: User) -> None:
    path = sign(alice)
    last = "A" if path[-1] != "A" else "B"
    for changed in (path[:-1] + last, "/files/upload/x", path.replace(".", "")):
        assert refused(put(client, changed)) == (403, "Forbidden")


def test_an_address_for_a_download_takes_no_upload(client: Client, alice: User) -> None:
    sign(alice)
    token = downloads.address(StoredFile.objects.get()).split("/")[-2]
    assert refused(put(client, f"/files/upload/{token}"))[0] == 403


def test_a_deleted_upload_and_a_closed_account_are_404(
    client: Client, alice: User, bob: User
) -> None:
    path = sign(alice)
    closing.close(user=alice, actor="staff")
    assert refused(put(client, path)) == (404, "Not Found")
    theirs = sign(bob)
    storage.forget(StoredFile.objects.filter(account=bob).values_list("pk", flat=True))
    assert refused(put(client, theirs)) == (404, "Not Found")


def test_a_low_disk_is_507_before_the_body_is_read(
    client: Client, alice: User, media: Path, settings: Any
) -> None:
    path = sign(alice)
    settings.FILES_LEAST_FREE_BYTES = 10**18
    assert refused(put(client, path)) == (507, "Insufficient Storage")
    assert stored_objects(media) == []


def test_a_page_of_any_origin_may_upload(client: Client, alice: User) -> None:
    answer = client.options(
        sign(alice),
        headers={
            "Origin": "https://clips.example.com",
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "content-type",
        },
    )
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Access-Control-Allow-Methods"] == "PUT"
    assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type"


def test_no_other_method_is_allowed(client: Client, alice: User) -> None:
    path = sign(alice)
    for method in ("get", "post", "patch", "delete"):
        assert refused(getattr(client, method)(path)) == (405, "Method Not Allowed")
