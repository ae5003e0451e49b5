"""Real photos and hostile files through reviv's endpoints and the real engine."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from rest_framework.test import APIClient

from accounts.models import User
from jobs.models import Restoration, Run
from tests.restorations import HISTORY, PLACE, at, bearer, fetched, upload, work

pytestmark = pytest.mark.django_db(transaction=True)
SCRIPT = b"<script>alert('polyglot')</script>"
ROOT = Path(__file__).resolve().parents[3]


def engines(*arguments: str | Path) -> bytes:
    """Run a module of the engine's tests, which have an image library."""
    done = subprocess.run(
        [configured.MEDIA_PYTHON, "-m", "media.tests.endpoint_photos", *arguments],
        cwd=ROOT,
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not os.access(configured.MEDIA_PYTHON, os.X_OK):
        why = "The engine is not installed: ./dev media"
        pytest.fail(why) if os.environ.get("FOCUS_CI") else pytest.skip(why)
    folder = tmp_path_factory.mktemp("photos")
    engines("make", folder)
    return folder


@pytest.fixture
def as_owner(alice: User, tmp_path: Path, settings: Any) -> APIClient:
    """alice, signed in to reviv, on a server with the real engine."""
    settings.MEDIA_ROOT = tmp_path / "files"
    settings.MEDIA_WORK_FOLDER = tmp_path / "work"
    return bearer(alice)


def test_each_photo_is_restored_or_clearly_refused(
    as_owner: APIClient, alice: User, give: Any, cases: Path, tmp_path: Path
) -> None:
    give(alice, 1000)
    results = tmp_path / "results"
    results.mkdir()
    names = sorted(it.name for it in cases.iterdir() if "astronaut" not in it.name)
    assert len(names) == 32
    for name in names:
        # The file's name says nothing about its content.
        answer = upload(as_owner, (cases / name).read_bytes(), name="photo.gif")
        assert answer.status_code == 201, (name, answer.content)
        job_id = answer.json()["job_id"]
        while work():
            pass
        body = as_owner.get(at(job_id, "status")).json()
        if name.startswith("refused: "):
            assert (body["status"], body["error"]) == (
                "failed",
                "Restoration failed",
            ), name
            assert body["report"]["sentence"], name
            assert body["report"]["change"], name
            assert Run.objects.latest("created_at").tries == 1, name
        elif name.startswith("either: "):
            assert body["status"] in ("completed", "failed"), name
        else:
            assert body["status"] == "completed", (name, body)
            unlocked = as_owner.post(at(job_id, "unlock")).json()
            [row] = as_owner.get(HISTORY).json()
            for kind, address in (
                ("full", unlocked["full_image_url"]),
                ("preview", row["restored_preview_url"]),
                ("original", row["original_image_url"]),
            ):
                content = fetched(address)
                assert PLACE not in content, (name, kind)
                assert b"Secret Camera" not in content, (name, kind)
                assert SCRIPT not in content, (name, kind)
                (results / f"{name}.{kind}").write_bytes(content)
        assert as_owner.delete(at(job_id)).status_code == 200
    for name, seen in json.loads(engines("look", results)).items():
        lossless = name.startswith("png") or name == "webp, lossless"
        assert seen["formats"] == ["PNG" if lossless else "JPEG", "JPEG"], name
        assert seen["modes"] == ["RGB", "RGB"], name
        assert seen["full"] == seen["upright"], name
        assert max(seen["preview"]) <= 1024, name
        assert seen["metadata"] == [], name
        assert seen["exif"] == [{}, {}], name
        assert set(seen["tags of the original"]) <= {0x0112}, name
        assert 0.02 < seen["marked"] < 0.9, (name, seen["marked"])


def test_a_stranger_registers_uploads_unlocks_and_downloads(
    as_owner: APIClient, cases: Path, give: Any
) -> None:
    stranger = APIClient()
    account = {"email": "stranger@example.com", "password": "a strangers password"}
    answer = stranger.post("/api/auth/register", account)
    assert answer.status_code in (200, 201), answer.content
    login = stranger.post("/api/auth/login", account).json()
    token = login.get("access_token") or login["data"]["access_token"]
    stranger = APIClient(headers={"Authorization": f"Bearer {token}"})
    user = User.objects.get(email="stranger@example.com")
    photo = (cases / "astronaut").read_bytes()
    assert PLACE in photo
    answer = upload(stranger, photo, name="astronaut.jpg")
    assert answer.status_code == 201, answer.content
    job_id = answer.json()["job_id"]
    status = at(job_id, "status")
    assert stranger.get(status).json()["status"] == "pending"
    assert work() is True
    body = stranger.get(status).json()
    assert (body["status"], body["progress"]) == ("completed", 100), body
    steps = [step["step"] for step in body["report"]["steps"]]
    assert "denoise" in steps
    assert body["report"]["before"]["noise"]["sigma"] > 10
    preview = fetched(body["preview_url"])
    assert preview.startswith(b"\xff\xd8\xff")
    refused = stranger.post(at(job_id, "unlock"))
    assert refused.json()["error"]["code"] == "INSUFFICIENT_CREDITS"
    give(user, 1)
    unlocked = stranger.post(at(job_id, "unlock")).json()
    assert unlocked["credits_remaining"] == "0.00"
    path = unlocked["full_image_url"].removeprefix("http://localhost:8000")
    answer = APIClient().get(f"{path}?download=1")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "image/jpeg"
    assert answer["Content-Disposition"].startswith("attachment")
    assert "astronaut-restored.jpg" in answer["Content-Disposition"]
    full = answer.getvalue()
    assert full.startswith(b"\xff\xd8\xff")
    assert len(full) < len(photo) * 3
    assert PLACE not in full
    assert not Restoration.objects.filter(account=user, unlocked_at=None).exists()


def test_a_photo_without_damage_says_why_nothing_changed(
    as_owner: APIClient, cases: Path
) -> None:
    photo = (cases / "the astronaut without noise").read_bytes()
    job_id = upload(as_owner, photo).json()["job_id"]
    work()
    report = as_owner.get(at(job_id, "status")).json()["report"]
    assert report["unchanged"] is True
    assert report["why_unchanged"]
