"""contracts.md, focus: keep a job's credits reserved while its work runs.

Literal paths, whole bodies, then the ledger.
"""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from rest_framework.test import APIClient

from accounts.credentials import tokens
from accounts.models import App
from accounts.partners import consents
from accounts.signin import closing
from focus.money import MICRO
from jobs import expiry
from jobs.invariants import ALL
from jobs.models import Job
from wallet import invariants, ledger
from wallet.models import Entry, Reservation

pytestmark = pytest.mark.django_db
RENDER = {"app": "video", "action": "render", "cost_estimate": 5}
HOUR = 3600
DAY = 24 * HOUR


@pytest.fixture(autouse=True)
def _twenty_credits(alice, video, give):
    give(alice, 20)
    yield
    assert invariants.violations(among=ALL) == []


@pytest.fixture
def job_id(as_alice):
    return as_alice.post("/api/jobs", RENDER).json()["job_id"]


@pytest.fixture
def by_app(as_video, as_alice, alice):
    """A job that the app's key started for alice."""
    as_alice.get("/api/wallet?app=video")
    wish = {"action": "render", "cost_estimate": 5, "user_id": alice.pk}
    return as_video.post("/api/jobs", wish).json()["job_id"]


def extend(client, job_id, seconds, **options):
    path = f"/api/jobs/{job_id}/extend"
    return client.post(path, {"ttl_seconds": seconds}, **options)


def credits_of(user):
    now = ledger.balance(account_id=user.pk)
    return now.available_micro / MICRO, now.reserved_micro / MICRO


def end_of(job_id):
    return Job.objects.get(pk=job_id).expires_at


def lasts(job_id):
    """The job's seconds from its start to its end."""
    job = Job.objects.get(pk=job_id)
    return (job.expires_at - job.created_at).total_seconds()


def extensions_of(job_id):
    return Entry.objects.filter(job_id=job_id, kind="extend").order_by("seq")


def test_an_extension_lasts_from_now_on(as_alice, alice, job_id, time_passes):
    time_passes(1800)
    answer = as_alice.post(f"/api/jobs/{job_id}/extend", {"ttl_seconds": HOUR})
    assert answer.status_code == 200
    job = Job.objects.get(pk=job_id)
    assert answer.json() == {
        "job_id": job_id,
        "status": "started",
        "reserved": 5,
        "credits_remaining": 15,
        "expires_at": job.expires_at.isoformat().replace("+00:00", "Z"),
    }
    assert 5400 <= lasts(job_id) < 5460
    assert Reservation.objects.get(pk=job_id).expires_at == job.expires_at
    assert credits_of(alice) == (15, 5)
    read = as_alice.get(f"/api/jobs/{job_id}").json()
    assert (read["status"], read["expires_at"]) == (
        "started",
        answer.json()["expires_at"],
    )


def test_its_entry_proves_the_new_end_and_moves_no_credits(as_alice, alice, job_id):
    extend(as_alice, job_id, 2 * HOUR)
    entry = extensions_of(job_id).get()
    assert (entry.debit, entry.credit, entry.amount_micro) == ("nothing", "terms", 0)
    assert (entry.actor, entry.hash_version) == (f"user:{alice.pk}", 2)
    assert entry.reservation_id == entry.job_id == uuid.UUID(job_id)
    assert entry.app is not None
    assert entry.app.slug == "video"
    since = end_of(job_id) - datetime.fromisoformat("1970-01-01T00:00Z")
    assert entry.terms == f"until {since // timedelta(microseconds=1)}"


def test_an_extended_job_outlives_its_first_end_and_is_settled(
    as_alice, alice, job_id, time_passes
):
    time_passes(3000)
    extend(as_alice, job_id, HOUR)
    time_passes(3000)
    assert expiry.expire_due() == 0
    done = {"job_id": job_id, "actual_cost": 3}
    body = as_alice.post("/api/jobs/complete", done).json()
    assert (body["charged"], body["refunded"], body["job"]["late"]) == (3, 2, False)
    assert credits_of(alice) == (17, 0)


def test_an_extended_job_expires_at_its_new_end(as_alice, alice, job_id, time_passes):
    extend(as_alice, job_id, 2 * HOUR)
    time_passes(2 * HOUR + 1)
    assert as_alice.get(f"/api/jobs/{job_id}").json()["status"] == "expired"
    assert credits_of(alice) == (20, 0)
    assert expiry.expire_due() == 1
    assert credits_of(alice) == (20, 0)


def test_an_extension_never_shortens(as_alice, job_id):
    first = extend(as_alice, job_id, 2 * HOUR)
    answer = extend(as_alice, job_id, 60)
    assert (answer.status_code, answer.json()) == (200, first.json())
    assert extensions_of(job_id).count() == 1


def test_heartbeats_keep_a_job_for_7_days_after_its_start_and_no_longer(
    as_alice, alice, job_id, time_passes
):
    for _ in range(7):
        assert extend(as_alice, job_id, DAY - 60).status_code == 200
        time_passes(DAY - 120)
    # 14 minutes before the end of the 7 days.
    before = Job.objects.get(pk=job_id)
    answer = extend(as_alice, job_id, HOUR)
    assert answer.status_code == 400
    left = answer.json()["max_ttl_seconds"]
    assert 800 < left <= 840
    assert answer.json() == {
        "error": "ttl_too_long",
        "message": "A job's credits stay reserved for at most 7 days after its start.",
        "max_ttl_seconds": left,
    }
    assert Job.objects.get(pk=job_id).expires_at == before.expires_at
    assert extend(as_alice, job_id, left - 30).status_code == 200
    assert 7 * DAY - 60 < lasts(job_id) <= 7 * DAY
    time_passes(left)
    assert extend(as_alice, job_id, 60).status_code == 409
    assert credits_of(alice) == (20, 0)


def test_more_than_the_apps_own_maximum_is_400(as_alice, job_id):
    App.objects.update(max_ttl_seconds=120)
    answer = extend(as_alice, job_id, 121)
    assert answer.status_code == 400
    assert answer.json() == {
        "error": "ttl_too_long",
        "message": "This app reserves credits for at most 120 seconds.",
        "max_ttl_seconds": 120,
    }
    assert extend(as_alice, job_id, 120).status_code == 200
    assert lasts(job_id) == HOUR


@pytest.mark.parametrize("swept", [True, False])
def test_an_expired_job_is_409_and_stays_expired(
    as_alice, alice, job_id, time_passes, swept
):
    time_passes(3601)
    if swept:
        assert expiry.expire_due() == 1
    before = end_of(job_id), Entry.objects.count()
    answer = extend(as_alice, job_id, HOUR)
    assert answer.status_code == 409
    assert answer.json() == {
        "error": "job_not_started",
        "message": "The job is already expired.",
        "status": "expired",
    }
    assert (end_of(job_id), Entry.objects.count()) == before
    assert credits_of(alice) == (20, 0)


@pytest.mark.parametrize(
    ("path", "status"), [("complete", "completed"), ("fail", "failed")]
)
def test_an_ended_job_is_409(as_alice, job_id, path, status):
    as_alice.post(f"/api/jobs/{path}", {"job_id": job_id})
    before = end_of(job_id)
    answer = extend(as_alice, job_id, HOUR)
    assert answer.status_code == 409
    assert answer.json() == {
        "error": "job_not_started",
        "message": f"The job is already {status}.",
        "status": status,
    }
    assert end_of(job_id) == before


def test_a_job_that_the_caller_does_not_have_is_404(as_alice, as_bob, job_id):
    refused = {"error": "job_not_found", "message": "There is no such job."}
    for answer in (
        extend(as_bob, job_id, HOUR),
        extend(as_alice, uuid.uuid4(), HOUR),
        extend(as_alice, "not-a-uuid", HOUR),
    ):
        assert (answer.status_code, answer.json()) == (404, refused)
    assert lasts(job_id) == HOUR


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"ttl_seconds": None},
        {"ttl_seconds": 59},
        {"ttl_seconds": 86_401},
        {"ttl_seconds": 60.5},
        {"ttl_seconds": "soon"},
        {"ttl_seconds": 10**30},
        {"ttl_seconds": -60},
        {"ttl_seconds": [60]},
    ],
)
def test_a_bad_ttl_is_400_and_named(as_alice, job_id, body):
    answer = as_alice.post(f"/api/jobs/{job_id}/extend", body)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert list(answer.json()["fields"]) == ["ttl_seconds"]
    assert lasts(job_id) == HOUR


@pytest.mark.parametrize("seconds", [60, 86_400])
def test_the_bounds_are_allowed(as_alice, job_id, seconds):
    assert extend(as_alice, job_id, seconds).status_code == 200


def test_a_repeat_with_its_key_extends_once(as_alice, job_id, time_passes):
    key = {"Idempotency-Key": "beat 1"}
    first = extend(as_alice, job_id, 2 * HOUR, headers=key)
    time_passes(600)
    again = extend(as_alice, job_id, 2 * HOUR, headers=key)
    assert (again.status_code, again.content) == (200, first.content)
    assert again["Idempotent-Replayed"] == "true"
    assert extensions_of(job_id).count() == 1
    other = extend(as_alice, job_id, 3 * HOUR, headers=key)
    assert (other.status_code, other.json()["error"]) == (
        422,
        "idempotency_key_reused",
    )


def test_an_answer_that_changed_nothing_leaves_its_key_free(
    as_alice, job_id, time_passes
):
    key = {"Idempotency-Key": "beat 1"}
    assert extend(as_alice, job_id, 60, headers=key).status_code == 200
    time_passes(3550)
    late = extend(as_alice, job_id, 60, headers=key)
    assert "Idempotent-Replayed" not in late
    assert lasts(job_id) >= 3610


def test_an_app_extends_the_jobs_of_people_who_let_it(as_video, by_app, job_id):
    for each in (by_app, job_id):
        answer = extend(as_video, each, 2 * HOUR)
        assert (answer.status_code, answer.json()["reserved"]) == (200, 5)
        assert extensions_of(each).get().actor == "app:video"


def test_a_job_that_an_apps_key_started_is_extended_by_its_keys_alone(
    as_alice, by_app, job_id
):
    answer = extend(as_alice, by_app, 2 * HOUR)
    assert answer.status_code == 403
    assert answer.json() == {
        "error": "app_key_required",
        "message": "Only the app's own key may settle this job.",
    }
    App.objects.update(settle_with_app_key_only=True)
    assert extend(as_alice, job_id, 2 * HOUR).status_code == 403
    assert lasts(by_app) == lasts(job_id) == HOUR


def test_an_apps_key_stays_in_its_app(as_alice, as_video):
    App.objects.create(slug="audio", name="Audio")
    other = as_alice.post("/api/jobs", RENDER | {"app": "audio"}).json()["job_id"]
    assert extend(as_video, other, 2 * HOUR).status_code == 404


def test_a_token_needs_the_scope_to_write_jobs(alice, job_id):
    for scopes, status in ((["jobs:read"], 403), (["jobs:write"], 200)):
        issued = tokens.issue(user=alice, name="x", scopes=scopes)
        client = APIClient(headers={"Authorization": f"Bearer {issued.secret}"})
        assert extend(client, job_id, 2 * HOUR).status_code == status


ENDINGS = {
    "revoked": lambda user, app: consents.revoke(user=user, app_id=app.pk),
    "account closed": lambda user, app: closing.close(user=user, actor="test"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_without_consent_the_reservation_keeps_its_end(
    as_video, alice, video, by_app, ending
):
    ENDINGS[ending](alice, video)
    answer = extend(as_video, by_app, 2 * HOUR)
    assert answer.status_code == 403
    assert answer.json() == {
        "error": "app_not_granted",
        "message": "This person has not let the app spend their credits.",
    }
    assert lasts(by_app) == HOUR
    # What is reserved may still be charged.
    done = as_video.post("/api/jobs/complete", {"job_id": by_app}).json()
    assert (done["charged"], done["uncovered"]) == (5, 0)


def test_the_person_who_revoked_the_app_does_not_extend_either(
    as_alice, alice, video, job_id
):
    consents.revoke(user=alice, app_id=video.pk)
    answer = extend(as_alice, job_id, 2 * HOUR)
    assert (answer.status_code, answer.json()["error"]) == (403, "app_not_granted")
    assert lasts(job_id) == HOUR


def test_a_job_of_an_inactive_app_is_not_extended(as_alice, job_id):
    App.objects.update(active=False)
    answer = extend(as_alice, job_id, 2 * HOUR)
    assert answer.status_code == 403
    assert answer.json() == {
        "error": "app_inactive",
        "message": "This app is inactive.",
    }
    assert lasts(job_id) == HOUR


def test_a_job_that_reserves_nothing_is_extended_too(as_alice, alice, time_passes):
    started = as_alice.post("/api/jobs", RENDER | {"cost_estimate": 0}).json()
    job_id = started["job_id"]
    answer = extend(as_alice, job_id, 2 * HOUR)
    assert (answer.status_code, answer.json()["reserved"]) == (200, 0)
    assert not extensions_of(job_id).exists()
    time_passes(HOUR + 1)
    assert as_alice.get(f"/api/jobs/{job_id}").json()["status"] == "started"
    time_passes(HOUR)
    assert extend(as_alice, job_id, HOUR).status_code == 409


def test_credits_of_a_grant_that_expires_meanwhile_stay_reserved(
    as_alice, alice, give, time_passes
):
    give(alice, 5, expires_at=datetime.now(UTC) + timedelta(seconds=100))
    job_id = as_alice.post("/api/jobs", RENDER).json()["job_id"]
    assert extend(as_alice, job_id, 2 * HOUR).status_code == 200
    time_passes(HOUR)
    assert credits_of(alice) == (20, 5)
    done = {"job_id": job_id, "actual_cost": 3}
    body = as_alice.post("/api/jobs/complete", done).json()
    assert (body["charged"], body["refunded"], body["credits_remaining"]) == (3, 2, 20)
    lapsed = Entry.objects.get(kind="lapse")
    assert lapsed.amount_micro == 2 * MICRO
