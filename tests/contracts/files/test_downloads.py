"""GET and HEAD /files/{token}/{name}: signed addresses that open without headers."""

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
from tests.files import published

pytestmark = pytest.mark.django_db

CONTENT = bytes(range(256)) * 1000
SIZE = len(CONTENT)


class Browser(Client):
    """Reads each answer to its end."""

    def get(self, *args: Any, **more: Any) -> Any:
        return super().get(*args, **more)

    def head(self, *args: Any, **more: Any) -> Any:
        return super().head(*args, **more)

    def request(self, **request: Any) -> Any:
        answer: Any = super().request(**request)
        streamed = answer.streaming
        answer.body = b"".join(answer.streaming_content) if streamed else answer.content
        return answer


@pytest.fixture
def client() -> Browser:
    return Browser()


@pytest.fixture(autouse=True)
def media(tmp_path: Path, settings: Any) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"


@pytest.fixture
def file(alice: User, tmp_path: Path) -> StoredFile:
    return published(alice, tmp_path, content=CONTENT)


def path_of(file: StoredFile, **more: Any) -> str:
    return urlsplit(downloads.address(file, **more)).path


def test_an_address_opens_without_headers(client: Browser, file: StoredFile) -> None:
    address = downloads.address(file)
    assert address.startswith("http://localhost")
    assert address.endswith("/cat.png")
    answer = client.get(path_of(file))
    assert (answer.status_code, answer.body) == (200, CONTENT)
    headers = answer.headers
    assert headers["Content-Type"] == "image/png"
    assert headers["Content-Length"] == str(SIZE)
    assert headers["Content-Disposition"] == 'inline; filename="cat.png"'
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["ETag"] == downloads.etag(file)
    assert headers["X-Content-Type-Options"] == "nosniff"
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none'; ")
    assert "script-src" not in policy
    assert headers["Cache-Control"] == "private, no-cache"
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in headers
    assert "Content-Range" not in headers


def test_head_answers_the_headers_alone(client: Browser, file: StoredFile) -> None:
    answer = client.head(path_of(file))
    assert (answer.status_code, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(SIZE)
    partial = client.head(path_of(file), headers={"Range": "bytes=0-9"})
    assert (partial.status_code, partial.headers["Content-Length"]) == (206, "10")


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=100-", 100, SIZE),
        ("bytes=-100", SIZE - 100, SIZE),
        ("bytes=-9999999", 0, SIZE),
        (f"bytes={SIZE - 1}-{SIZE + 5}", SIZE - 1, SIZE),
        ("bytes=70000-140000", 70_000, 140_001),
        ("Bytes= 5-6 ", 5, 7),
    ],
)
def test_a_range_gets_its_bytes(
    client: Browser, file: StoredFile, asked: str, start: int, end: int
) -> None:
    answer = client.get(path_of(file), headers={"Range": asked})
    assert (answer.status_code, answer.body) == (206, CONTENT[start:end])
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.headers["Content-Length"] == str(end - start)


@pytest.mark.parametrize(
    "asked",
    ["bytes=0-9,20-29", "bytes=9-0", "bytes=-", "items=0-9", "bytes=x-", "nonsense"],
)
def test_a_range_that_is_not_one_range_gets_the_whole_file(
    client: Browser, file: StoredFile, asked: str
) -> None:
    answer = client.get(path_of(file), headers={"Range": asked})
    assert (answer.status_code, answer.body) == (200, CONTENT)


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", "bytes=999999999-", "bytes=-0"])
def test_a_range_after_the_end_is_416(
    client: Browser, file: StoredFile, asked: str
) -> None:
    answer = client.get(path_of(file), headers={"Range": asked})
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{SIZE}"
    assert answer.json()["error"] == "range_not_satisfiable"


def test_an_empty_file_is_whole_and_has_no_range(
    client: Browser, alice: User, tmp_path: Path
) -> None:
    path = path_of(published(alice, tmp_path, content=b""))
    whole = client.get(path)
    assert (whole.status_code, whole.body) == (200, b"")
    assert whole.headers["Content-Length"] == "0"
    assert client.get(path, headers={"Range": "bytes=0-"}).status_code == 416


def test_if_range_gets_the_whole_of_another_version(
    client: Browser, file: StoredFile
) -> None:
    part = {"Range": "bytes=0-9"}
    tag = downloads.etag(file)
    same = client.get(path_of(file), headers=part | {"If-Range": tag})
    assert same.status_code == 206
    for other in ('"other"', f"W/{tag}", "Wed, 21 Oct 2026 07:28:00 GMT"):
        answer = client.get(path_of(file), headers=part | {"If-Range": other})
        assert (answer.status_code, answer.body) == (200, CONTENT)


def test_a_copy_that_is_fresh_is_304(client: Browser, file: StoredFile) -> None:
    tag = downloads.etag(file)
    for names in (tag, f'"a", W/{tag}', "*"):
        answer = client.get(path_of(file), headers={"If-None-Match": names})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["ETag"] == tag
        assert "Content-Length" not in answer.headers
    stale = client.get(path_of(file), headers={"If-None-Match": '"a"'})
    assert stale.status_code == 200


@pytest.mark.parametrize(
    ("content_type", "inline"),
    [
        ("image/jpeg", True),
        ("image/webp", True),
        ("video/mp4", True),
        ("application/x-subrip", True),
        ("text/html", False),
        ("image/svg+xml", False),
        ("application/pdf", False),
        ("application/octet-stream", False),
    ],
)
def test_only_images_videos_and_subtitles_are_shown_inline(
    client: Browser, alice: User, tmp_path: Path, content_type: str, inline: bool
) -> None:
    file = published(
        alice, tmp_path, content=CONTENT, content_type=content_type, name="x.bin"
    )
    answer = client.get(path_of(file))
    word = "inline" if inline else "attachment"
    assert answer.headers["Content-Disposition"] == f'{word}; filename="x.bin"'
    assert answer.headers["Content-Type"] == content_type
    saved = client.get(path_of(file), {"download": "1"})
    assert saved.headers["Content-Disposition"] == 'attachment; filename="x.bin"'


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Grüße.png", "inline; filename*=utf-8''Gr%C3%BC%C3%9Fe.png"),
        ('a"b;c.png', 'inline; filename="a_b;c.png"'),
        ("a\r\nX-Evil: 1.png", 'inline; filename="aX-Evil_ 1.png"'),
        ("../../up.png", 'inline; filename="up.png"'),
        ("", 'inline; filename="file"'),
    ],
)
def test_a_name_breaks_no_header_and_no_path(
    client: Browser, alice: User, tmp_path: Path, name: str, said: str
) -> None:
    file = published(alice, tmp_path, content=CONTENT, name=name)
    answer = client.get(path_of(file))
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"] == said


def test_another_name_can_be_signed(client: Browser, file: StoredFile) -> None:
    answer = client.get(path_of(file, name="restored.png"), {"download": "1"})
    said = answer.headers["Content-Disposition"]
    assert said == 'attachment; filename="restored.png"'


def test_an_address_ends_after_24_hours(client: Browser, file: StoredFile) -> None:
    path = path_of(file)
    StoredFile.objects.update(due_at=None)
    with time_machine.travel(timezone.now() + timedelta(hours=23, minutes=59)):
        assert client.get(path).status_code == 200
    with time_machine.travel(timezone.now() + timedelta(hours=24, seconds=2)):
        answer = client.get(path)
    assert answer.status_code == 403
    assert answer.json() == {
        "error": "address_expired",
        "message": "This address has expired. Ask for a new one.",
    }
    # A player on another origin can read why.
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_a_changed_address_is_403(
    client: Browser, alice: User, file: StoredFile, tmp_path: Path
) -> None:
    _, _, token, name = path_of(file).split("/")
    other = path_of(published(alice, tmp_path, content=CONTENT)).split("/")[2]
    packed, at, signature = token.split(".")
    for path in (
        f"/files/{token}/invoice.exe",
        f"/files/{other.split('.')[0]}.{at}.{signature}/{name}",
        f"/files/{packed}.{at}.{signature[::-1]}/{name}",
        f"/files/{packed}.zzzzzz.{signature}/{name}",
        f"/files/{packed}/{name}",
        f"/files/x/{name}",
    ):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["error"]) == (
            403,
            "address_invalid",
        ), path
        assert "Ask for a new one" in answer.json()["message"]


def test_an_address_for_an_upload_downloads_nothing(
    client: Browser, file: StoredFile
) -> None:
    token = uploads.sign_put(file).rsplit("/", 1)[-1]
    assert client.get(f"/files/{token}/cat.png").status_code == 403


def test_an_earlier_secret_key_still_opens(
    client: Browser, file: StoredFile, settings: Any
) -> None:
    path = path_of(file)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another key, of enough characters 0123456789"
    assert client.get(path).status_code == 200
    settings.SECRET_KEY_FALLBACKS = []
    assert client.get(path).status_code == 403


def test_a_deleted_file_is_404(client: Browser, file: StoredFile) -> None:
    storage.forget([file.pk])
    answer = client.get(path_of(file))
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
    StoredFile.objects.all().delete()
    assert client.get(path_of(file)).status_code == 404


def test_an_expired_file_is_404_before_a_worker_removes_it(
    client: Browser, file: StoredFile
) -> None:
    StoredFile.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    assert client.get(path_of(file)).status_code == 404


def test_a_file_that_has_not_arrived_is_404(client: Browser, alice: User) -> None:
    file = storage.expect(
        account_id=alice.pk,
        purpose="photo",
        name="cat.png",
        content_type="image/png",
        most_bytes=10,
    )
    assert client.get(path_of(file)).status_code == 404


def test_a_file_that_lost_its_object_is_404(client: Browser, file: StoredFile) -> None:
    storage.backend().remove(file.key)
    assert client.get(path_of(file)).status_code == 404


def test_files_of_a_closed_account_are_404_until_it_is_reopened(
    client: Browser, alice: User, file: StoredFile
) -> None:
    closing.close(user=alice, actor="staff")
    assert client.get(path_of(file)).status_code == 404
    closing.reopen(user=alice, actor="staff")
    assert client.get(path_of(file)).status_code == 200


def test_a_page_of_any_origin_may_ask_for_a_range(
    client: Browser, file: StoredFile
) -> None:
    answer = client.options(
        path_of(file),
        headers={
            "Origin": "https://player.example.com",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "range",
        },
    )
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Range" in answer.headers["Access-Control-Allow-Headers"]
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD"


def test_no_other_method_is_allowed(client: Browser, file: StoredFile) -> None:
    for method in ("post", "put", "patch", "delete"):
        answer = getattr(client, method)(path_of(file))
        assert answer.status_code == 405
        assert answer.json()["error"] == "method_not_allowed"
