"""Uploads that are refused: the guide's sentences in order, and nothing is left."""

import struct
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from rest_framework.test import APIClient

from jobs.hosted.restorations import photos
from jobs.models import Job, Restoration, Run, StoredFile
from tests.restorations import (
    UPLOAD,
    chunk,
    jpeg,
    png,
    refused,
    riff,
    segment,
    upload,
    webp,
)

pytestmark = pytest.mark.django_db(transaction=True)

NO_FILE = "No file was submitted."
NO_IMAGE = "Invalid image file"
TOO_LARGE = "File must be under 10MB"
WRONG_FORMAT = "Only JPG, PNG, WEBP formats allowed"
TOO_SMALL = "Image must be at least 500px on shortest side"
TOO_MANY = "Image must be at most 40 megapixels"


def nothing_is_left(engine: Path) -> None:
    for model in (Restoration, Run, Job):
        assert not model.objects.exists()
    assert not StoredFile.objects.filter(deleted_at=None).exists()
    assert not [it for it in (engine / "files").rglob("*") if it.is_file()]


def webp_header(width: int, height: int, flags: int = 0) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X" + struct.pack("<I", 10) + bytes([flags, 0, 0, 0]) + sides


PIXELS = webp()[12:]
ANIMATED = riff(
    webp_header(500, 600, flags=2), b"ANIM" + struct.pack("<I", 6) + b"\0" * 6
)
WRONG: dict[str, tuple[bytes, str]] = {
    "empty": (b"", NO_IMAGE),
    "text": (b"This is no photo." * 100, NO_IMAGE),
    "html": (b"<html><script>alert(1)</script></html>", NO_IMAGE),
    "pdf": (b"%PDF-1.7 " * 50, NO_IMAGE),
    "only a signature": (b"\x89PNG\r\n\x1a\n", NO_IMAGE),
    "jpeg signature": (b"\xff\xd8\xff", NO_IMAGE),
    "webp signature": (b"RIFF\0\0\0\0WEBP", NO_IMAGE),
    "png cut short": (png()[:-20], NO_IMAGE),
    "jpeg cut short": (jpeg()[:-5], NO_IMAGE),
    "webp cut short": (webp()[:-5], NO_IMAGE),
    "png without pixels": (png()[:33] + chunk(b"IEND"), NO_IMAGE),
    "jpeg without pixels": (b"\xff\xd8" + segment(0xFE, b"x") + b"\xff\xd9", NO_IMAGE),
    "two headers": (png(500, 600, png()[8:33]), NO_IMAGE),
    "two frames": (
        jpeg(500, 600, segment(0xC0, b"\x08\xff\xff\xff\xff\1\1\x11\0")),
        NO_IMAGE,
    ),
    "no width": (jpeg(0, 600), NO_IMAGE),
    "no height": (jpeg(500, 0), NO_IMAGE),
    "two sizes": (riff(webp_header(500, 600), webp(9000, 9000)[12:]), NO_IMAGE),
    "animated webp": (ANIMATED, NO_IMAGE),
    "animated png": (png(500, 600, chunk(b"acTL", struct.pack(">II", 2, 0))), NO_IMAGE),
    "gif": (b"GIF89a" + b"\0" * 100, WRONG_FORMAT),
    "bmp": (b"BM" + b"\0" * 100, WRONG_FORMAT),
    "tiff": (b"II*\0" + b"\0" * 100, WRONG_FORMAT),
    "heic": (b"\0\0\0\x18ftypheic" + b"\0" * 100, WRONG_FORMAT),
    "avif": (b"\0\0\0\x1cftypavif" + b"\0" * 100, WRONG_FORMAT),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", WRONG_FORMAT),
    "narrow": (png(499, 600), TOO_SMALL),
    "low": (jpeg(600, 499), TOO_SMALL),
    "small webp": (webp(499, 499), TOO_SMALL),
    "narrow and large": (jpeg(499, 65000), TOO_SMALL),
    "40 megapixels and a row": (jpeg(5000, 8001), TOO_MANY),
    "png bomb": (
        png()[:8]
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 0, 0, 0, 0))
        + png()[33:],
        TOO_MANY,
    ),
    "png, damaged": (png()[:60] + b"x" + png()[61:], NO_IMAGE),
    "jpeg bomb": (jpeg(65000, 65000), TOO_MANY),
    "webp bomb": (webp(16383, 16383), TOO_MANY),
    "too large": (jpeg() + b"\0" * photos.MOST_BYTES, TOO_LARGE),
    "a large gif": (b"GIF89a" + b"\0" * photos.MOST_BYTES, TOO_LARGE),
}


@pytest.mark.parametrize(("image", "sentence"), WRONG.values(), ids=WRONG)
def test_each_wrong_file_has_its_sentence_and_leaves_nothing(
    as_owner: APIClient, engine: Path, image: bytes, sentence: str
) -> None:
    for key in (None, "a key"):
        answer = upload(as_owner, image, key=key)
        refused(answer, 400, "VALIDATION_ERROR", image=[sentence])
    nothing_is_left(engine)


RIGHT = {
    "exactly 500 pixels": png(500, 500),
    "exactly 40 megapixels": jpeg(5000, 8000),
    "exactly 10 MB": jpeg(500, 600, *[segment(0xFE, b"x" * 60_000)] * 170).ljust(
        photos.MOST_BYTES, b"\0"
    ),
    "webp with its canvas": riff(webp_header(500, 600), PIXELS),
    "an animation of one frame": png(
        500, 600, chunk(b"acTL", struct.pack(">II", 1, 0))
    ),
}


@pytest.mark.parametrize("image", RIGHT.values(), ids=RIGHT)
def test_the_limits_themselves_are_allowed(as_owner: APIClient, image: bytes) -> None:
    answer = upload(as_owner, image)
    assert answer.status_code == 201, answer.content


class TestForms:
    @pytest.mark.parametrize(
        "form",
        [{}, {"picture": "x"}, {"image": "text"}, {"image": ""}],
        ids=["empty", "another name", "text", "empty text"],
    )
    def test_a_form_without_the_file(
        self, as_owner: APIClient, engine: Path, form: dict[str, str]
    ) -> None:
        answer = as_owner.post(UPLOAD, form, format="multipart")
        refused(answer, 400, "VALIDATION_ERROR", image=[NO_FILE])
        nothing_is_left(engine)

    def test_json_is_415(self, as_owner: APIClient) -> None:
        answer = as_owner.post(UPLOAD, {"image": "x"}, format="json")
        assert answer.status_code == 415
        assert answer.json()["error"]["code"] == "UNSUPPORTED_MEDIA_TYPE"

    def test_a_broken_form_is_400(self, as_owner: APIClient, engine: Path) -> None:
        for kind, body in (
            ("multipart/form-data", b"x"),
            ("multipart/form-data; boundary=b", b"--b\r\nContent-Disp"),
            ("multipart/form-data; boundary=" + "b" * 300, b"--b--"),
        ):
            answer = as_owner.generic("POST", UPLOAD, body.decode(), content_type=kind)
            assert answer.status_code == 400, kind
            assert answer.json()["error"]["code"] in ("PARSE_ERROR", "VALIDATION_ERROR")
        nothing_is_left(engine)

    def test_two_files_are_refused(self, as_owner: APIClient, engine: Path) -> None:
        form = {
            "image": SimpleUploadedFile("a.png", png()),
            "other": SimpleUploadedFile("b.png", png()),
        }
        answer = as_owner.post(UPLOAD, form, format="multipart")
        assert (answer.status_code, answer.json()["error"]) == (
            400,
            {
                "code": "TOO_MANY_FILES",
                "message": "Send at most one file.",
                "details": {"max_files": 1},
            },
        )
        nothing_is_left(engine)

    def test_a_stranger_is_401_before_the_body_is_read(
        self, engine: Path, db: Any
    ) -> None:
        answer = Client().post(UPLOAD, {"image": SimpleUploadedFile("a.png", png())})
        assert answer.status_code == 401
        nothing_is_left(engine)


class TestOrder:
    def test_a_full_history_comes_before_the_file(self, as_owner: APIClient) -> None:
        for _ in range(6):
            assert upload(as_owner).status_code == 201
        for image in (png(), b"no photo", jpeg() + b"\0" * photos.MOST_BYTES):
            refused(upload(as_owner, image), 403, "HISTORY_LIMIT", max_jobs=6)
        refused(
            as_owner.post(UPLOAD, {}, format="multipart"),
            403,
            "HISTORY_LIMIT",
            max_jobs=6,
        )
        assert Restoration.objects.count() == Run.objects.count() == 6
        assert StoredFile.objects.count() == 6

    def test_failed_photos_count(self, as_owner: APIClient) -> None:
        for _ in range(6):
            upload(as_owner)
        Run.objects.update(state="failed", due_at=None, finished_at="2026-01-01T00:00Z")
        refused(upload(as_owner), 403, "HISTORY_LIMIT", max_jobs=6)

    def test_another_accounts_photos_do_not_count(
        self, as_owner: APIClient, as_other: APIClient
    ) -> None:
        for _ in range(6):
            upload(as_owner)
        assert upload(as_other).status_code == 201


class TestRoom:
    def test_a_low_disk_is_upload_failed(
        self, as_owner: APIClient, engine: Path, settings: Any
    ) -> None:
        settings.FILES_LEAST_FREE_BYTES = 2**62
        refused(upload(as_owner), 500, "UPLOAD_FAILED")
        nothing_is_left(engine)

    def test_a_spent_quota_is_413(
        self, as_owner: APIClient, engine: Path, settings: Any
    ) -> None:
        settings.FILES_QUOTA_BYTES = 100
        answer = upload(as_owner)
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "FILE_QUOTA_SPENT"
        nothing_is_left(engine)

    def test_a_storage_that_fails_is_upload_failed(
        self, as_owner: APIClient, engine: Path
    ) -> None:
        upload(as_owner)
        Restoration.objects.all().delete()
        # A file where the storage's folders belong.
        root = engine / "files" / "files"
        kept = list(root.rglob("*")) if root.exists() else []
        assert kept
        for path in sorted(kept, reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        root.rmdir()
        root.write_text("no folder")
        answer = upload(as_owner)
        refused(answer, 500, "UPLOAD_FAILED")
        assert not Restoration.objects.exists()
        assert Run.objects.count() == 1
