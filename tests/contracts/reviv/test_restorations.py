"""reviv guide, "Restorations": upload, status, history and delete, whole bodies."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models import F
from rest_framework.test import APIClient

from accounts.models import User
from jobs.hosted import runs
from jobs.hosted.restorations import photos
from jobs.models import Job, Restoration, Run, StoredFile
from tests.restorations import (
    HISTORY,
    PLACE,
    UPLOAD,
    at,
    chunk,
    fetched,
    gone,
    jpeg,
    png,
    refused,
    restored,
    segment,
    tiff,
    upload,
    webp,
    work,
)

pytestmark = pytest.mark.django_db(transaction=True)
REPORT = {
    "unchanged": False,
    "steps": [{"step": "denoise", "engine": "waifu2x"}],
    "options": {"keep_original_colors": False, "generated_detail": False},
}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


class TestUpload:
    def test_the_guides_answer(self, as_owner: APIClient) -> None:
        answer = upload(as_owner)
        assert answer.status_code == 201
        job_id = answer.json()["job_id"]
        assert answer.json() == {"job_id": job_id, "status": "pending"}
        assert type(job_id) is int
        assert upload(as_owner).json()["job_id"] > job_id

    @pytest.mark.parametrize(
        ("photo", "kind"),
        [(png(), "image/png"), (jpeg(), "image/jpeg"), (webp(), "image/webp")],
        ids=["png", "jpeg", "webp"],
    )
    def test_the_content_decides_the_format_and_not_the_name(
        self, as_owner: APIClient, photo: bytes, kind: str
    ) -> None:
        for name in (
            "photo.jpg",
            "photo.exe",
            "photo",
            "../../etc/passwd",
            "ü\x01.gif",
        ):
            assert upload(as_owner, photo, name=name).status_code == 201
        stored = StoredFile.objects.all()
        assert {it.content_type for it in stored} == {kind}
        assert not any("/" in it.name or ".." in it.name for it in stored)

    def test_the_slash_is_optional(self, as_owner: APIClient) -> None:
        form = {"image": ""}
        assert as_owner.post(UPLOAD[:-1], form, format="multipart").status_code == 400

    def test_the_options_reach_the_engine(self, as_owner: APIClient) -> None:
        chosen: dict[str, Any] = {
            "keep_original_colors": "true",
            "generated_detail": "1",
        }
        job_id = upload(as_owner, **chosen).json()["job_id"]
        work()
        report = as_owner.get(at(job_id, "status")).json()["report"]
        assert report["options"] == {
            "keep_original_colors": True,
            "generated_detail": True,
        }

    def test_an_option_that_is_no_boolean_is_400(self, as_owner: APIClient) -> None:
        answer = upload(as_owner, generated_detail="perhaps")
        refused(
            answer,
            400,
            "VALIDATION_ERROR",
            generated_detail=["Must be a valid boolean."],
        )
        assert not StoredFile.objects.exists()

    def test_it_is_a_job_of_the_app_reviv_that_costs_nothing(
        self, as_owner: APIClient, alice: User, as_alice: APIClient
    ) -> None:
        upload(as_owner)
        [job] = as_alice.get("/api/jobs").json()["jobs"]
        shown = {name: job[name] for name in ("app", "action", "status", "reserved")}
        assert shown == {
            "app": "reviv",
            "action": "restore",
            "status": "started",
            "reserved": 0,
        }
        assert job["metadata"]["description"] == "Restoration of grandmother.png"
        # Until the preview is there, the photo itself.
        assert fetched(job["metadata"]["previewUrl"]) == png()
        work()
        job = as_alice.get(f"/api/jobs/{job['id']}").json()
        assert (job["status"], job["charged"]) == ("completed", 0)
        assert fetched(job["metadata"]["previewUrl"]) == b"the preview of " + png()

    def test_a_repeated_key_answers_the_same_and_uploads_nothing(
        self, as_owner: APIClient
    ) -> None:
        first = upload(as_owner, key="once")
        again = upload(as_owner, key="once")
        assert again.status_code == 201
        assert again.content == first.content
        assert again["Idempotent-Replayed"] == "true"
        assert Restoration.objects.count() == StoredFile.objects.count() == 1
        other = upload(as_owner, png(dot=7), key="once")
        refused(other, 422, "IDEMPOTENCY_KEY_REUSED")
        assert Restoration.objects.count() == StoredFile.objects.count() == 1

    def test_a_key_is_answered_again_also_where_the_history_is_full(
        self, as_owner: APIClient
    ) -> None:
        first = upload(as_owner, key="once")
        for _ in range(5):
            upload(as_owner)
        assert upload(as_owner, key="once").content == first.content
        refused(upload(as_owner, key="twice"), 403, "HISTORY_LIMIT", max_jobs=6)

    def test_a_refused_upload_is_not_remembered(self, as_owner: APIClient) -> None:
        assert upload(as_owner, b"no photo", key="k").status_code == 400
        assert upload(as_owner, key="k").status_code == 201


class TestStatus:
    def test_from_pending_to_completed(self, as_owner: APIClient) -> None:
        job_id = upload(as_owner).json()["job_id"]
        waiting = as_owner.get(at(job_id, "status"))
        assert waiting.status_code == 200
        body = waiting.json()
        message = body.pop("message")
        assert body == {
            "job_id": job_id,
            "status": "pending",
            "preview_url": None,
            "error": None,
            "progress": 0,
            "report": None,
        }
        assert message
        Run.objects.update(state="running", stage="noise", percent=40)
        body = as_owner.get(at(job_id, "status")).json()
        assert (body["status"], body["progress"]) == ("processing", 40)
        assert body["preview_url"] is None
        Run.objects.update(state="queued")
        work()
        body = as_owner.get(at(job_id, "status")).json()
        preview = body.pop("preview_url")
        assert body == {
            "job_id": job_id,
            "status": "completed",
            "error": None,
            "progress": 100,
            "message": "",
            "report": REPORT,
        }
        assert fetched(preview) == b"the preview of " + png()

    def test_a_refused_photo_has_failed_and_says_why_in_the_report(
        self, as_owner: APIClient
    ) -> None:
        job_id = upload(as_owner, png(500, 600, chunk(b"bKGD", b"REFUSE"))).json()[
            "job_id"
        ]
        work()
        body = as_owner.get(at(job_id, "status")).json()
        assert body == {
            "job_id": job_id,
            "status": "failed",
            "preview_url": None,
            "error": "Restoration failed",
            "progress": body["progress"],
            "message": "The photo is damaged or cut short.",
            "report": {
                "code": "broken_photo",
                "sentence": "The photo is damaged or cut short.",
                "change": "Export the photo again and upload the new file.",
            },
        }
        assert Job.objects.get().status == "failed"

    def test_a_photo_that_staff_cancelled_has_failed_and_says_so(
        self, as_owner: APIClient
    ) -> None:
        job_id = upload(as_owner).json()["job_id"]
        runs.cancel(run_id=Run.objects.get().pk)
        body = as_owner.get(at(job_id, "status")).json()
        assert (body["status"], body["error"]) == ("failed", "Restoration failed")
        assert (
            body["message"] == body["report"]["sentence"] == "The work was cancelled."
        )
        assert body["report"]["change"] == "Upload the photo again."

    def test_another_account_and_an_unknown_id_get_404(
        self, as_owner: APIClient, as_other: APIClient
    ) -> None:
        job_id = upload(as_owner).json()["job_id"]
        refused(as_other.get(at(job_id, "status")), 404, "NOT_FOUND")
        for unknown in (0, 999, 2**63, 2**64, "x", "-1", "1e3", "٣", "1.0", "0x1"):
            refused(as_owner.get(at(unknown, "status")), 404, "NOT_FOUND")


class TestHistory:
    def test_a_locked_photo(self, as_owner: APIClient) -> None:
        job_id = restored(as_owner)
        answer = as_owner.get(HISTORY)
        assert answer.status_code == 200
        [row] = answer.json()
        original, preview = (
            row.pop("original_image_url"),
            row.pop("restored_preview_url"),
        )
        created, expires = row.pop("created_at"), row.pop("expires_at")
        assert row == {
            "id": job_id,
            "restored_full_url": None,
            "status": "completed",
            "unlock_method": None,
            "unlocked_at": None,
            "is_unlocked": False,
        }
        assert fetched(original) == png()
        assert fetched(preview) == b"the preview of " + png()
        kept = moment(expires) - moment(created)
        assert abs(kept - timedelta(days=60)) < timedelta(minutes=1)

    def test_a_waiting_photo_shows_its_original_only(self, as_owner: APIClient) -> None:
        upload(as_owner)
        [row] = as_owner.get(HISTORY).json()
        assert (row["status"], row["restored_preview_url"]) == ("pending", None)
        assert fetched(row["original_image_url"]) == png()

    def test_the_newest_first_and_only_ones_own(
        self, as_owner: APIClient, as_other: APIClient
    ) -> None:
        ids = [upload(as_owner).json()["job_id"] for _ in range(6)]
        upload(as_other)
        rows = as_owner.get(HISTORY).json()
        assert [row["id"] for row in rows] == ids[::-1]

    def test_a_history_without_photos_is_empty(self, as_owner: APIClient) -> None:
        assert as_owner.get(HISTORY).json() == []

    def test_each_reading_has_fresh_addresses_that_work_for_a_day(
        self, as_owner: APIClient, time_machine: Any
    ) -> None:
        upload(as_owner)
        [row] = as_owner.get(HISTORY).json()
        assert fetched(row["original_image_url"])


EXIF_CHUNK = chunk(b"eXIf", tiff(6))
WITH_PLACE = {
    "png": png(500, 600, EXIF_CHUNK, chunk(b"tEXt", b"Place\0" + PLACE)),
    "jpeg": jpeg(
        500,
        600,
        segment(0xE1, b"Exif\0\0" + tiff(6)),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + PLACE),
        segment(0xED, b"Photoshop 3.0\0" + PLACE),
        segment(0xFE, PLACE),
    )
    + PLACE,
}


@pytest.mark.parametrize("photo", WITH_PLACE.values(), ids=WITH_PLACE)
def test_the_place_of_a_photo_is_in_no_file(as_owner: APIClient, photo: bytes) -> None:
    assert PLACE in photo
    restored(as_owner, photo)
    [row] = as_owner.get(HISTORY).json()
    original = fetched(row["original_image_url"])
    # Its orientation is all that stays of the metadata.
    assert b"MM\0*" in original
    assert PLACE not in original
    assert PLACE not in fetched(row["restored_preview_url"])
    for file in StoredFile.objects.all():
        from jobs.files import storage

        assert PLACE not in b"".join(storage.open_range(file, 0, file.size or 0))


class TestDelete:
    def test_the_files_and_their_addresses_are_gone(self, as_owner: APIClient) -> None:
        job_id = restored(as_owner)
        [row] = as_owner.get(HISTORY).json()
        answer = as_owner.delete(at(job_id))
        assert answer.status_code == 200
        assert answer.json() == {
            "message": "Job deleted successfully",
            "status": "ok",
        }
        gone(row["original_image_url"])
        gone(row["restored_preview_url"])
        assert as_owner.get(HISTORY).json() == []
        refused(as_owner.get(at(job_id, "status")), 404, "NOT_FOUND")
        refused(as_owner.delete(at(job_id)), 404, "NOT_FOUND")
        assert not StoredFile.objects.filter(deleted_at=None).exists()

    def test_a_waiting_photo_is_stopped_and_never_restored(
        self, as_owner: APIClient
    ) -> None:
        job_id = upload(as_owner).json()["job_id"]
        assert as_owner.delete(at(job_id)).status_code == 200
        assert Run.objects.get().state == "cancelled"
        assert Job.objects.get().status == "failed"
        assert work() is False

    def test_it_makes_room_for_another_photo(self, as_owner: APIClient) -> None:
        ids = [upload(as_owner).json()["job_id"] for _ in range(6)]
        assert upload(as_owner).status_code == 403
        as_owner.delete(at(ids[0]))
        assert upload(as_owner).status_code == 201

    def test_only_ones_own(self, as_owner: APIClient, as_other: APIClient) -> None:
        job_id = upload(as_owner).json()["job_id"]
        refused(as_other.delete(at(job_id)), 404, "NOT_FOUND")
        assert Restoration.objects.filter(pk=job_id).exists()


class TestExpiry:
    def test_a_photo_of_60_days_is_hidden_before_any_sweep(
        self, as_owner: APIClient
    ) -> None:
        job_id = restored(as_owner)
        Restoration.objects.update(expires_at=F("created_at"))
        assert as_owner.get(HISTORY).json() == []
        refused(as_owner.get(at(job_id, "status")), 404, "NOT_FOUND")
        refused(as_owner.post(at(job_id, "unlock")), 404, "NOT_FOUND")
        refused(as_owner.post(at(job_id, "share-unlock")), 404, "NOT_FOUND")
        refused(as_owner.post(at(job_id, "confirm-share")), 404, "NOT_FOUND")
        refused(as_owner.delete(at(job_id)), 404, "NOT_FOUND")

    def test_expired_photos_leave_room(self, as_owner: APIClient) -> None:
        for _ in range(6):
            upload(as_owner)
        Restoration.objects.update(expires_at=F("created_at"))
        assert upload(as_owner).status_code == 201

    def test_the_sweep_removes_rows_and_files_and_stops_runs(
        self, as_owner: APIClient
    ) -> None:
        restored(as_owner)
        waiting = upload(as_owner).json()["job_id"]
        kept = upload(as_owner).json()["job_id"]
        Restoration.objects.exclude(pk=kept).update(expires_at=F("created_at"))
        assert photos.remove_expired() == 2
        assert photos.remove_expired() == 0
        [left] = Restoration.objects.all()
        assert left.pk == kept
        [file] = StoredFile.objects.filter(deleted_at=None)
        assert file.pk == left.original_id
        assert waiting != kept
        states = Run.objects.order_by("created_at").values_list("state", flat=True)
        assert list(states) == ["done", "cancelled", "queued"]


class TestFreePreview:
    def test_it_is_used_with_the_first_completed_restoration(
        self, as_owner: APIClient
    ) -> None:
        def used() -> bool:
            body = as_owner.get("/api/auth/me/").json()
            return bool(body["free_preview_used"])

        upload(as_owner)
        assert not used()
        work()
        assert used()

    def test_a_failed_restoration_uses_none(
        self, as_owner: APIClient, alice: User
    ) -> None:
        upload(as_owner, png(500, 600, chunk(b"bKGD", b"REFUSE")))
        work()
        alice.refresh_from_db()
        assert not alice.free_preview_used
