"""Jobs by an app's own key: for people who let it, and in its own app only."""

import uuid

import pytest

from accounts import consents
from accounts.models import App
from focus.money import MICRO
from wallet import ledger
from wallet.models import Entry

pytestmark = pytest.mark.django_db
RENDER = {"app": "video", "action": "render", "cost_estimate": 5}


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


def test_an_apps_key_acts_for_people_who_let_it(as_video, alice, as_alice):
    wish = RENDER | {"user_id": str(alice.pk)}
    answer = as_video.post("/api/jobs", wish)
    assert (answer.status_code, answer.json()["error"]) == (403, "app_not_granted")
    as_alice.get("/api/wallet?app=video")
    answer = as_video.post("/api/jobs", wish)
    assert answer.status_code == 201
    job_id = answer.json()["job_id"]
    assert as_video.get(f"/api/jobs/{job_id}").status_code == 200
    done = {"job_id": job_id, "actual_cost": 1}
    assert as_video.post("/api/jobs/complete", done).json()["charged"] == 1
    assert Entry.objects.filter(kind="charge").get().actor == "app:video"


def test_an_apps_key_stays_in_its_app(as_video, alice, as_alice, video):
    App.objects.create(slug="audio", name="Audio")
    other = as_alice.post("/api/jobs", RENDER | {"app": "audio"}).json()["job_id"]
    assert as_video.get(f"/api/jobs/{other}").status_code == 404
    assert as_video.post("/api/jobs/fail", {"job_id": other}).status_code == 404
    assert as_video.get("/api/jobs").json()["jobs"] == []
    consents.record(user=alice, app_id=video.pk)
    for wish in ({"app": "audio"}, {"user_id": None}, {"user_id": "x"}):
        answer = as_video.post("/api/jobs", RENDER | {"user_id": str(alice.pk)} | wish)
        assert answer.status_code in (400, 403)
    unknown = RENDER | {"user_id": str(uuid.uuid4())}
    answer = as_video.post("/api/jobs", unknown)
    assert (answer.status_code, answer.json()["error"]) == (403, "app_not_granted")


def test_consent_taken_back_stops_the_app(as_video, as_alice, alice, video):
    as_alice.get("/api/wallet?app=video")
    consents.revoke(user=alice, app_id=video.pk)
    answer = as_video.post("/api/jobs", RENDER | {"user_id": str(alice.pk)})
    assert answer.json()["error"] == "app_not_granted"


def test_an_app_may_keep_settling_to_its_own_key(as_alice, as_video, alice, job_id):
    App.objects.update(settle_with_app_key_only=True)
    for path in ("complete", "fail"):
        answer = as_alice.post(f"/api/jobs/{path}", {"job_id": job_id})
        assert (answer.status_code, answer.json()["error"]) == (403, "app_key_required")
    assert credits_of(alice) == (15, 5)
    assert as_video.post("/api/jobs/complete", {"job_id": job_id}).status_code == 200


def test_a_closed_account_lets_nobody_spend(as_video, as_alice, alice):
    as_alice.get("/api/wallet?app=video")
    wish = RENDER | {"user_id": str(alice.pk)}
    job_id = as_video.post("/api/jobs", wish).json()["job_id"]
    alice.is_active = False
    alice.save()
    answer = as_video.post("/api/jobs", wish)
    assert (answer.status_code, answer.json()["error"]) == (403, "app_not_granted")
    # What was started may still be settled: the work was done.
    assert as_video.post("/api/jobs/complete", {"job_id": job_id}).status_code == 200


def test_consent_taken_back_stops_replays_too(as_video, as_alice, alice, video):
    as_alice.get("/api/wallet?app=video")
    wish = RENDER | {"user_id": str(alice.pk)}
    key = {"Idempotency-Key": "one"}
    assert as_video.post("/api/jobs", wish, headers=key).status_code == 201
    assert as_video.post("/api/jobs", wish, headers=key).status_code == 201
    consents.revoke(user=alice, app_id=video.pk)
    assert as_video.post("/api/jobs", wish, headers=key).status_code == 403
