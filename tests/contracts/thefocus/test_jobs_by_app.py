"""Jobs by an app's key: for people who let the app, and for this app only."""

import uuid

import pytest

from accounts.audit import NO_VISITOR
from accounts.credentials import app_keys
from accounts.models import App, User
from accounts.partners import consents
from accounts.recovery import purge
from accounts.signin import closing
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
    payload = RENDER | {"user_id": str(alice.pk)}
    answer = as_video.post("/api/jobs", payload)
    assert (answer.status_code, answer.json()["error"]) == (403, "app_not_granted")
    as_alice.get("/api/wallet?app=video")
    answer = as_video.post("/api/jobs", payload)
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
    consents.grant(user=alice, app_id=video.pk)
    for payload in ({"app": "audio"}, {"user_id": None}, {"user_id": "x"}):
        answer = as_video.post(
            "/api/jobs", RENDER | {"user_id": str(alice.pk)} | payload
        )
        assert answer.status_code in (400, 403)
    unknown = RENDER | {"user_id": str(uuid.uuid4())}
    answer = as_video.post("/api/jobs", unknown)
    assert (answer.status_code, answer.json()["error"]) == (403, "app_not_granted")


def test_a_revoked_consent_stops_the_app(as_video, as_alice, alice, video):
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


def test_a_closed_account_lets_no_app_spend(as_video, as_alice, alice):
    as_alice.get("/api/wallet?app=video")
    payload = RENDER | {"user_id": str(alice.pk)}
    job_id = as_video.post("/api/jobs", payload).json()["job_id"]
    alice.is_active = False
    alice.save()
    answer = as_video.post("/api/jobs", payload)
    assert (answer.status_code, answer.json()["error"]) == (403, "app_not_granted")
    # A started job may still be settled, up to its reservation.
    done = {"job_id": job_id, "actual_cost": 20}
    answer = as_video.post("/api/jobs/complete", done).json()
    assert (answer["charged"], answer["uncovered"]) == (5, 15)


def test_a_revoked_consent_stops_replays_too(as_video, as_alice, alice, video):
    as_alice.get("/api/wallet?app=video")
    payload = RENDER | {"user_id": str(alice.pk)}
    key = {"Idempotency-Key": "one"}
    assert as_video.post("/api/jobs", payload, headers=key).status_code == 201
    assert as_video.post("/api/jobs", payload, headers=key).status_code == 201
    consents.revoke(user=alice, app_id=video.pk)
    assert as_video.post("/api/jobs", payload, headers=key).status_code == 403


@pytest.fixture
def by_app(as_video, as_alice, alice):
    """Return a function that starts a job for alice by the app's key."""
    as_alice.get("/api/wallet?app=video")

    def starts(estimate=5, **options):
        payload = {"action": "render", "cost_estimate": estimate, "user_id": alice.pk}
        return as_video.post("/api/jobs", {**payload, **options}).json()["job_id"]

    return starts


def end_all_consents(user):
    """End every consent, as the recovery of the account by an emailed link does."""
    User.objects.filter(pk=user.pk).update(epoch=user.epoch + 1)
    purge.end_all_access(user=user, visitor=NO_VISITOR)


ENDINGS = {
    "revoked": lambda user, app: consents.revoke(user=user, app_id=app.pk),
    "account closed": lambda user, app: closing.close(user=user, actor="test"),
    "account recovered by mail": lambda user, app: end_all_consents(user),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("policy", App.OveragePolicy.values)
def test_without_consent_a_settlement_takes_what_is_reserved(
    as_video, alice, video, by_app, ending, policy
):
    App.objects.update(overage_policy=policy)
    started = {estimate: by_app(estimate) for estimate in (5, 0)}
    ENDINGS[ending](alice, video)
    for estimate, job_id in started.items():
        done = {"job_id": job_id, "actual_cost": 1_000_000}
        for _ in range(2):
            answer = as_video.post("/api/jobs/complete", done)
            assert answer.status_code == 200
            body = answer.json()
            assert (body["charged"], body["refunded"]) == (estimate, 0)
            assert body["uncovered"] == 1_000_000 - estimate
    assert credits_of(alice) == (35, 0)


@pytest.mark.parametrize("ending", ENDINGS)
def test_without_consent_less_than_reserved_is_charged_as_ever(
    as_video, alice, video, by_app, ending
):
    job_id = by_app()
    ENDINGS[ending](alice, video)
    done = {"job_id": job_id, "actual_cost": 2}
    body = as_video.post("/api/jobs/complete", done).json()
    assert (body["charged"], body["refunded"], body["uncovered"]) == (2, 3, 0)


@pytest.mark.parametrize("ending", ENDINGS)
def test_without_consent_a_late_settlement_takes_nothing(
    as_video, alice, video, by_app, ending, time_passes
):
    job_id = by_app()
    ENDINGS[ending](alice, video)
    time_passes(3601)
    answer = as_video.post("/api/jobs/complete", {"job_id": job_id})
    body = answer.json()
    assert (answer.status_code, body["charged"], body["uncovered"]) == (200, 0, 5)
    assert (body["job"]["late"], body["refunded"]) == (True, 5)
    assert credits_of(alice) == (40, 0)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("late", "charged"), [(False, 5), (True, 0)])
def test_without_consent_a_charged_failure_takes_what_is_reserved(
    as_video, alice, video, by_app, ending, late, charged, time_passes
):
    job_id = by_app()
    ENDINGS[ending](alice, video)
    if late:
        time_passes(3601)
    failed = {"job_id": job_id, "refund": False}
    body = as_video.post("/api/jobs/fail", failed).json()
    assert (body["charged"], body["uncovered"]) == (charged, 0)
    assert credits_of(alice) == (40 - charged, 0)


def test_a_job_that_a_person_starts_is_their_consent(as_alice, as_video, job_id, alice):
    done = {"job_id": job_id, "actual_cost": 9}
    assert as_video.post("/api/jobs/complete", done).json()["charged"] == 9
    again = RENDER | {"user_id": str(alice.pk)}
    assert as_video.post("/api/jobs", again).status_code == 201


def test_a_refused_start_leaves_neither_a_job_nor_a_consent(as_alice, alice, video):
    payload = RENDER | {"cost_estimate": 21}
    assert as_alice.post("/api/jobs", payload).status_code == 402
    assert not consents.is_granted(user_id=alice.pk, app_id=video.pk)
    assert as_alice.get("/api/jobs").json()["jobs"] == []


def test_the_person_settles_at_what_is_held_after_a_revocation(
    as_alice, alice, video, job_id
):
    consents.revoke(user=alice, app_id=video.pk)
    done = {"job_id": job_id, "actual_cost": 9}
    body = as_alice.post("/api/jobs/complete", done).json()
    assert (body["charged"], body["uncovered"]) == (5, 4)


def test_a_job_that_an_apps_key_started_is_settled_by_its_keys_alone(
    as_alice, as_video, by_app, video
):
    job_id = by_app()
    for path in ("complete", "fail"):
        answer = as_alice.post(f"/api/jobs/{path}", {"job_id": job_id})
        assert (answer.status_code, answer.json()["error"]) == (403, "app_key_required")
    # The person still reads the job.
    assert as_alice.get(f"/api/jobs/{job_id}").json()["status"] == "started"
    # A rotated key belongs to the same app.
    old = video.appkey_set.get()
    issued = app_keys.rotate(key_id=old.pk, overlap_seconds=0)
    assert as_video.post("/api/jobs/fail", {"job_id": job_id}).status_code == 401
    as_video.credentials(HTTP_AUTHORIZATION=f"Bearer {issued.secret}")
    done = as_video.post("/api/jobs/complete", {"job_id": job_id, "actual_cost": 1})
    assert done.json()["charged"] == 1


def test_an_app_of_a_closed_account_charges_nothing_until_it_is_reopened(
    as_video, as_alice, alice, bob, video, by_app, job_id
):
    App.objects.filter(pk=video.pk).update(owner=bob)
    own = by_app()
    closing.close(user=bob, actor="test")
    payload = RENDER | {"user_id": str(alice.pk)}
    for path, body in (
        ("jobs", payload),
        ("jobs/complete", {"job_id": own}),
        ("jobs/fail", {"job_id": own}),
    ):
        answer = as_video.post(f"/api/{path}", body)
        assert (answer.status_code, answer.json()["error"]) == (403, "app_inactive")
    assert as_alice.get("/api/wallet?app=video").status_code == 404
    assert as_alice.post("/api/jobs", RENDER).status_code == 404
    # The person's own job is charged its reservation at most.
    done = {"job_id": job_id, "actual_cost": 9}
    settled = as_alice.post("/api/jobs/complete", done).json()
    assert (settled["charged"], settled["uncovered"]) == (5, 4)
    closing.reopen(user=bob, actor="test")
    assert as_video.post("/api/jobs/complete", {"job_id": own}).json()["charged"] == 5
