"""Focus guide, sections 3 to 5: jobs. Literal paths, whole bodies, then the ledger."""

import json
import uuid

import pytest

from accounts.models import App, Consent
from focus.money import MICRO
from jobs import expiry
from jobs.models import Job
from wallet import ledger
from wallet.models import Entry

pytestmark = pytest.mark.django_db
RENDER = {
    "app": "video",
    "action": "render",
    "cost_estimate": 5,
    "metadata": {
        "description": "Render preview clip",
        "previewUrl": "https://video.example.com/previews/abc123.jpg",
        "example": True,
    },
}


@pytest.fixture(autouse=True)
def _twenty_credits(alice, video, give):
    give(alice, 20)


@pytest.fixture
def job_id(as_alice):
    return as_alice.post("/api/jobs", RENDER).json()["job_id"]


def credits_of(user):
    now = ledger.balance(account_id=user.pk)
    return now.available_micro / MICRO, now.reserved_micro / MICRO


def post_text(client, path, text):
    return client.generic("POST", path, text, content_type="application/json")


def test_3_create_reserves(as_alice, alice):
    answer = as_alice.post("/api/jobs", RENDER)
    assert answer.status_code == 201
    body = answer.json()
    job = Job.objects.get()
    assert body == {
        "job_id": str(job.pk),
        "status": "started",
        "reserved": 5,
        "credits_remaining": 15,
        "expires_at": job.expires_at.isoformat().replace("+00:00", "Z"),
    }
    assert (job.expires_at - job.created_at).total_seconds() == 3600
    assert credits_of(alice) == (15, 5)
    assert job.metadata == RENDER["metadata"]


def test_4_complete_settles_and_merges_metadata(as_alice, alice, job_id):
    done = {
        "job_id": job_id,
        "actual_cost": 3,
        "metadata": {"description": "Render completed (1080p)", "durationMs": 1200},
    }
    answer = as_alice.post("/api/jobs/complete", done)
    assert answer.status_code == 200
    job = Job.objects.get()
    times = {
        name: getattr(job, name).isoformat().replace("+00:00", "Z")
        for name in ("created_at", "expires_at", "settled_at")
    }
    assert answer.json() == {
        "job": {
            "id": job_id,
            "job_id": job_id,
            "app": "video",
            "action": "render",
            "status": "completed",
            "cost_estimate": 5,
            "reserved": 5,
            "actual_cost": 3,
            "charged": 3,
            "refunded": 2,
            "uncovered": 0,
            "late": False,
            "metadata": {
                "description": "Render completed (1080p)",
                "previewUrl": "https://video.example.com/previews/abc123.jpg",
                "example": True,
                "durationMs": 1200,
            },
            **times,
        },
        "charged": 3,
        "refunded": 2,
        "uncovered": 0,
        "credits_remaining": 17,
    }
    assert credits_of(alice) == (17, 0)
    assert as_alice.get(f"/api/jobs/{job_id}").json() == answer.json()["job"]


def test_completing_twice_at_the_same_cost_answers_the_same(as_alice, job_id):
    done = {"job_id": job_id, "actual_cost": 3}
    first = as_alice.post("/api/jobs/complete", done)
    entries = Entry.objects.count()
    done["metadata"] = {"left": "alone"}
    assert as_alice.post("/api/jobs/complete", done).content == first.content
    assert Entry.objects.count() == entries


@pytest.mark.parametrize(
    ("path", "payload"),
    [
        ("complete", {"actual_cost": 4}),
        ("complete", {}),
        ("fail", {}),
        ("fail", {"refund": False}),
    ],
)
def test_another_outcome_is_409_and_changes_nothing(
    as_alice, alice, job_id, path, payload
):
    as_alice.post("/api/jobs/complete", {"job_id": job_id, "actual_cost": 3})
    answer = as_alice.post(f"/api/jobs/{path}", {"job_id": job_id, **payload})
    assert answer.status_code == 409
    assert answer.json() == {
        "error": "job_not_started",
        "message": "The job is already completed.",
        "status": "completed",
    }
    assert credits_of(alice) == (17, 0)


def test_actual_cost_omitted_is_the_estimate(as_alice, alice, job_id):
    answer = as_alice.post("/api/jobs/complete", {"job_id": job_id})
    assert (answer.json()["charged"], answer.json()["refunded"]) == (5, 0)


def test_fail_returns_the_reservation_by_default(as_alice, alice, job_id):
    answer = as_alice.post("/api/jobs/fail", {"job_id": job_id, "reason": "no disk"})
    assert answer.status_code == 200
    body = answer.json()
    assert body["job"]["status"] == "failed"
    assert (body["charged"], body["refunded"], body["credits_remaining"]) == (0, 5, 20)
    again = as_alice.post("/api/jobs/fail", {"job_id": job_id})
    assert again.content == answer.content
    assert credits_of(alice) == (20, 0)
    other = as_alice.post("/api/jobs/fail", {"job_id": job_id, "refund": False})
    assert other.status_code == 409


def test_fail_without_refund_charges_the_reservation(as_alice, alice, job_id):
    payload = {"job_id": job_id, "refund": False}
    answer = as_alice.post("/api/jobs/fail", payload)
    body = answer.json()
    assert (body["charged"], body["refunded"], body["credits_remaining"]) == (5, 0, 15)
    assert as_alice.post("/api/jobs/fail", payload).content == answer.content


def test_402_names_the_amounts_and_writes_nothing(as_alice, alice):
    answer = as_alice.post("/api/jobs", RENDER | {"cost_estimate": 20.5})
    assert answer.status_code == 402
    assert answer.json() == {
        "error": "insufficient_credits",
        "message": "There are not enough credits for this.",
        "required": 20.5,
        "available": 20,
    }
    assert not Job.objects.exists()
    assert not Consent.objects.exists()
    assert Entry.objects.count() == 1


def test_overage_beyond_the_balance_is_capped_and_reported(as_alice, alice, job_id):
    answer = as_alice.post("/api/jobs/complete", {"job_id": job_id, "actual_cost": 25})
    body = answer.json()
    assert answer.status_code == 200
    assert (body["charged"], body["uncovered"], body["credits_remaining"]) == (20, 5, 0)


def test_overage_is_refused_where_the_app_says_so(as_alice, alice, video, job_id):
    App.objects.update(overage_policy="reject")
    done = {"job_id": job_id, "actual_cost": 25}
    answer = as_alice.post("/api/jobs/complete", done)
    assert (answer.status_code, answer.json()["error"]) == (402, "insufficient_credits")
    assert as_alice.get(f"/api/jobs/{job_id}").json()["status"] == "started"
    assert credits_of(alice) == (15, 5)


def test_fractions_are_exact(as_alice, alice):
    body = '{"app":"video","action":"render","cost_estimate":0.030000}'
    answer = post_text(as_alice, "/api/jobs", body)
    assert b'"reserved":0.03,"credits_remaining":19.97' in answer.content
    done = json.dumps({"job_id": answer.json()["job_id"]})[:-1] + ',"actual_cost":0.01}'
    answer = post_text(as_alice, "/api/jobs/complete", done)
    assert b'"charged":0.01,"refunded":0.02' in answer.content


def test_an_estimate_of_nothing_books_nothing(as_alice, alice):
    answer = as_alice.post("/api/jobs", RENDER | {"cost_estimate": 0})
    assert (answer.status_code, answer.json()["reserved"]) == (201, 0)
    assert Entry.objects.count() == 1
    done = {"job_id": answer.json()["job_id"]}
    assert as_alice.post("/api/jobs/complete", done).json()["charged"] == 0


def test_unknown_fields_are_ignored(as_alice):
    assert as_alice.post("/api/jobs", RENDER | {"colour": "red"}).status_code == 201


def test_unknown_app_is_404(as_alice):
    answer = as_alice.post("/api/jobs", RENDER | {"app": "nope"})
    assert (answer.status_code, answer.json()["error"]) == (404, "unknown_app")


def test_another_accounts_job_is_404_everywhere(as_bob, job_id, alice):
    refused = {"error": "job_not_found", "message": "There is no such job."}
    payload = {"job_id": job_id}
    for answer in (
        as_bob.get(f"/api/jobs/{job_id}"),
        as_bob.post("/api/jobs/complete", payload),
        as_bob.post("/api/jobs/fail", payload),
        as_bob.post("/api/jobs/fail", {"job_id": str(uuid.uuid4())}),
        as_bob.get("/api/jobs/not-a-uuid"),
    ):
        assert (answer.status_code, answer.json()) == (404, refused)
    assert as_bob.get("/api/jobs").json() == {"jobs": [], "next_cursor": None}
    assert credits_of(alice) == (15, 5)


def test_5_list_filters_and_pages_newest_first(as_alice, video, db):
    App.objects.create(slug="audio", name="Audio")
    made = [
        as_alice.post("/api/jobs", RENDER | {"app": app, "cost_estimate": 1}).json()
        for app in ("video", "audio", "video", "video")
    ]
    ids = [job["job_id"] for job in reversed(made)]
    as_alice.post("/api/jobs/complete", {"job_id": ids[0]})

    def listed(query):
        body = as_alice.get(f"/api/jobs{query}").json()
        return [job["id"] for job in body["jobs"]], body["next_cursor"]

    assert listed("") == (ids, None)
    assert listed("?app=video&status=started&limit=50") == ([ids[1], ids[3]], None)
    assert listed("?status=completed") == ([ids[0]], None)
    assert listed("?app=nope") == ([], None)
    page, cursor = listed("?limit=3")
    assert page == ids[:3]
    assert listed(f"?limit=3&cursor={cursor}") == (ids[3:], None)
    assert listed("?limit=5000")[0] == ids


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=x",
        "limit=1.5",
        "status=nope",
        "cursor=x",
        "cursor=%C3%A9",
        "cursor=MTAw",
        "app=%00",
    ],
)
def test_bad_queries_are_400(as_alice, query):
    answer = as_alice.get(f"/api/jobs?{query}")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_time_expires_a_job_before_any_sweeper(as_alice, alice, job_id, time_passes):
    time_passes(3601)
    assert Job.objects.get().status == "started"
    job = as_alice.get(f"/api/jobs/{job_id}").json()
    assert (job["status"], job["refunded"]) == ("expired", 5)
    assert job["settled_at"] == job["expires_at"]
    assert as_alice.get("/api/jobs?status=started").json()["jobs"] == []
    assert as_alice.get("/api/jobs?status=expired").json()["jobs"] == [job]
    assert as_alice.get("/api/wallet").json()["account"]["credits"] == 20
    assert expiry.expire_due() == 1
    assert as_alice.get(f"/api/jobs/{job_id}").json() == job
    assert expiry.expire_due() == 0


@pytest.mark.parametrize("swept", [True, False])
def test_completing_late_is_a_fresh_charge(as_alice, alice, job_id, time_passes, swept):
    time_passes(3601)
    if swept:
        expiry.expire_due()
    answer = as_alice.post("/api/jobs/complete", {"job_id": job_id, "actual_cost": 3})
    body = answer.json()
    assert (answer.status_code, body["job"]["late"]) == (200, True)
    assert body["job"]["status"] == "completed"
    assert (body["charged"], body["refunded"], body["credits_remaining"]) == (3, 5, 17)
    again = as_alice.post("/api/jobs/complete", {"job_id": job_id, "actual_cost": 3})
    assert again.content == answer.content
    assert credits_of(alice) == (17, 0)


@pytest.mark.parametrize("swept", [True, False])
@pytest.mark.parametrize("refund", [True, False])
def test_failing_late_moves_nothing(
    as_alice, alice, job_id, time_passes, swept, refund
):
    time_passes(3601)
    if swept:
        expiry.expire_due()
    answer = as_alice.post("/api/jobs/fail", {"job_id": job_id, "refund": refund})
    assert (answer.status_code, answer.json()["job"]["status"]) == (200, "failed")
    assert answer.json()["charged"] == 0
    assert credits_of(alice) == (20, 0)
