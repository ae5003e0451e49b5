"""Forms with files: each goes to disk while it arrives, within the limits."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import path
from rest_framework.response import Response
from rest_framework.test import APIClient
from rest_framework.viewsets import ViewSet

from accounts.credentials.access import PUBLIC
from focus import urls
from focus.contracts.multipart import StreamedMultiPart, Uploaded, UploadLimits
from focus.contracts.reviv import Reviv

PNG = b"\x89PNG\r\n\x1a\n"
HERE = "/api/restorations/probe/"


class Probe(Reviv, ViewSet):
    accepts = {"take": PUBLIC}
    parser_classes = [StreamedMultiPart]
    streams_body: ClassVar[bool] = True
    max_body_bytes: ClassVar[int | None] = 20_000_000
    upload_limits = UploadLimits(
        most_files=3, most_bytes=1_000_000, most_bytes_together=2_000_000
    )

    def take(self, request: Any) -> Response:
        files: list[Uploaded] = request.FILES.getlist("files")
        on_disk = [os.fstat(file.fileno()).st_size for file in files]
        assert all(file.read() == file.arrival.path.read_bytes() for file in files)
        fields = dict(request.data.lists())
        fields.pop("files", None)
        said = {
            "names": [file.name for file in files],
            "sizes": [file.size for file in files],
            "on_disk": on_disk,
            "digests": [file.arrival.sha256.hex()[:4] for file in files],
            "fields": fields,
        }
        return Response(said)


urlpatterns = [path(HERE[1:], Probe.as_view({"post": "take"})), *urls.urlpatterns]
handler400, handler403 = urls.handler400, urls.handler403
handler404, handler500 = urls.handler404, urls.handler500

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


def _open_files() -> list[str]:
    links = Path("/proc/self/fd").iterdir()
    return [str(os.readlink(it)) for it in links if it.is_symlink()]


@pytest.fixture(autouse=True)
def media(tmp_path: Path, settings: Any) -> Iterator[Path]:
    settings.MEDIA_ROOT = tmp_path / "media"
    yield Path(settings.MEDIA_ROOT)
    # No test leaves a file, neither in a folder nor open.
    assert [found for found in settings.MEDIA_ROOT.rglob("*") if found.is_file()] == []
    assert [name for name in _open_files() if str(tmp_path) in name] == []


def post(**fields: Any) -> Any:
    return APIClient().post(HERE, fields, format="multipart")


def upload(size: int, name: str = "a.png") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, PNG + b"x" * (size - len(PNG)))


def test_files_and_fields_arrive() -> None:
    answer = post(files=[upload(1000), upload(1_000_000, "b.png")], keep="true")
    assert answer.status_code == 200, answer.content
    said = answer.json()
    assert said["names"] == ["a.png", "b.png"]
    assert said["sizes"] == said["on_disk"] == [1000, 1_000_000]
    assert said["fields"] == {"keep": ["true"]}
    assert len(set(said["digests"])) == 2


@pytest.mark.parametrize(
    ("files", "status", "code"),
    [
        ([1_000_001], 413, "FILE_TOO_LARGE"),
        ([1000, 1_000_001], 413, "FILE_TOO_LARGE"),
        ([900_000, 900_000, 900_000], 413, "FILE_TOO_LARGE"),
        ([10, 10, 10, 10], 400, "TOO_MANY_FILES"),
    ],
    ids=["one too large", "the second too large", "together too large", "too many"],
)
def test_a_form_above_a_limit_is_refused_and_leaves_nothing(
    files: list[int], status: int, code: str
) -> None:
    answer = post(files=[upload(size) for size in files])
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_text_fields_are_limited_in_memory() -> None:
    answer = post(files=[upload(1000)], text="x" * 1_100_000)
    assert answer.status_code == 413


def raw_form(
    body: bytes, content_type: str = "multipart/form-data; boundary=cut", **more: Any
) -> Any:
    client: Any = APIClient()
    return client.generic("POST", HERE, body, content_type=content_type, **more)


PART = (
    b'--cut\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n'
    b"Content-Type: image/png\r\n\r\n"
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        PART,
        PART + b"x" * 100_000,
        PART + b"x" * 10 + b"\r\n--cu",
        PART.replace(b'filename="a.png"', b'filename=""') + b"x\r\n--cut--\r\n",
    ],
    ids=["empty", "no form", "no content", "no end", "half an end", "no name"],
)
def test_a_form_without_a_whole_file_has_none(body: bytes) -> None:
    answer = raw_form(body)
    assert answer.status_code in (200, 400), answer.content
    if answer.status_code == 200:
        assert answer.json()["names"] == []


def test_a_name_with_folders_keeps_its_last_part() -> None:
    body = PART.replace(b"a.png", b"../../etc/cron.d/x") + PNG + b"\r\n--cut--\r\n"
    assert raw_form(body).json()["names"] == ["x"]


def test_a_form_without_a_boundary_is_400() -> None:
    answer = raw_form(b"x", content_type="multipart/form-data")
    assert answer.status_code == 400


def test_another_content_type_is_415() -> None:
    answer = APIClient().post(HERE, {"a": 1}, format="json")
    assert answer.status_code == 415


def test_a_low_disk_is_refused(settings: Any) -> None:
    settings.FILES_LEAST_FREE_BYTES = 10**18
    answer = post(files=[upload(1000)])
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "DISK_LOW")


def test_a_form_that_says_it_is_too_large_is_413_unread() -> None:
    answer = raw_form(PART, CONTENT_LENGTH="20000001")
    assert answer.status_code == 413
