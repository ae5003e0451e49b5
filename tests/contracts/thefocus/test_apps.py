"""Beyond the Focus guide: /api/apps, and the effect of a monthly limit on a job."""

import pytest
from rest_framework.test import APIClient

from accounts.credentials import scopes, tokens
from accounts.models import App, SecurityEvent
from accounts.partners import consents
from accounts.signin import sessions
from focus.money import MICRO
from jobs.models import Job
from wallet import ledger

pytestmark = pytest.mark.django_db
RENDER = {"app": "video", "action": "render", "cost_estimate": 5}
JUST_NOW = "granted_at"


def present(user):
    """A client of a user who signed in a moment ago."""
    made = sessions.begin(user=user, client="x", access_seconds=60, methods=["pwd"])
    return APIClient(headers={"Authorization": f"Bearer {made.access_token}"})


@pytest.fixture
def as_alice(alice):
    return present(alice)


@pytest.fixture
def as_bob(bob):
    return present(bob)


@pytest.fixture(autouse=True)
def _granted(alice, video, give):
    give(alice, 20)
    consents.grant(user=alice, app_id=video.pk)


def video_as(**facts):
    return {
        "slug": "video",
        "name": "Focus Video",
        "limit": None,
        "spent": 0,
        "left": None,
        **facts,
    }


def listed(client):
    answer = client.get("/api/apps")
    assert answer.status_code == 200
    rows = answer.json()["apps"]
    assert all(row.pop(JUST_NOW) for row in rows)
    return rows


def test_the_list_has_the_apps_that_may_spend_and_their_spending(
    as_alice, as_bob, bob, video
):
    assert listed(as_alice) == [video_as()]
    assert listed(as_bob) == []
    as_alice.post("/api/jobs", RENDER | {"cost_estimate": 2.5})
    assert listed(as_alice) == [video_as(spent=2.5)]


def test_a_limit_stops_one_app_and_not_the_wallet(as_alice, alice, video):
    answer = as_alice.put("/api/apps/video/limit", {"limit": 7.5})
    assert answer.status_code == 200
    body = answer.json()
    assert body.pop(JUST_NOW)
    assert body == video_as(limit=7.5, left=7.5)
    first = as_alice.post("/api/jobs", RENDER)
    assert (first.status_code, first.json()["credits_remaining"]) == (201, 2.5)
    answer = as_alice.post("/api/jobs", RENDER)
    assert answer.status_code == 402
    assert answer.json() == {
        "error": "spending_limit_reached",
        "message": "This is more than the monthly spending limit of the app allows.",
        "limit": 7.5,
        "spent": 5,
        "required": 5,
    }
    assert Job.objects.count() == 1
    assert ledger.balance(account_id=alice.pk).available_micro == 15 * MICRO
    wallet = as_alice.get("/api/wallet").json()["account"]
    assert wallet["credits"] == 15
    wallet = as_alice.get("/api/wallet?app=video").json()["account"]
    assert wallet["credits"] == 2.5
    assert listed(as_alice) == [video_as(limit=7.5, spent=5, left=2.5)]


def test_null_lifts_a_limit_and_the_audit_has_each_change(as_alice, alice):
    for limit in (7, 7, 0, None, None):
        answer = as_alice.put("/api/apps/video/limit", {"limit": limit})
        assert (answer.status_code, answer.json()["limit"]) == (200, limit)
    assert as_alice.post("/api/jobs", RENDER).status_code == 201
    events = SecurityEvent.objects.filter(kind__startswith="spending_limit")
    assert [
        (event.kind, event.facts["limit_before"], event.facts["limit"])
        for event in events.order_by("pk")
    ] == [
        ("spending_limit_set", None, "7"),
        ("spending_limit_set", "7", "0"),
        ("spending_limit_lifted", "0", None),
    ]


def test_a_limit_drops_float_noise(as_alice):
    answer = as_alice.put("/api/apps/video/limit", {"limit": 0.1 + 0.2})
    assert (answer.status_code, answer.json()["limit"]) == (200, 0.3)


@pytest.mark.parametrize("limit", [-1, "5", True, 0.0000001, 1_000_000_001, [], {}])
def test_an_invalid_limit_is_refused(as_alice, limit):
    answer = as_alice.put("/api/apps/video/limit", {"limit": limit})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert list(answer.json()["fields"]) == ["limit"]


def test_a_missing_limit_and_an_unknown_app_are_refused(as_alice, video):
    assert as_alice.put("/api/apps/video/limit", {}).status_code == 400
    answer = as_alice.put("/api/apps/nothing/limit", {"limit": 1})
    assert (answer.status_code, answer.json()["error"]) == (404, "unknown_app")


def test_a_limit_may_precede_the_consent_and_outlives_it(as_alice, video):
    App.objects.create(slug="rival", name="Rival")
    body = as_alice.put("/api/apps/rival/limit", {"limit": 3}).json()
    assert (body["granted_at"], body["limit"]) == (None, 3)
    as_alice.put("/api/apps/video/limit", {"limit": 3})
    answer = as_alice.delete("/api/apps/video")
    assert answer.status_code == 200
    assert answer.json() == video_as(limit=3, left=3) | {"granted_at": None}
    assert listed(as_alice) == []
    as_alice.get("/api/wallet?app=video")
    assert listed(as_alice) == [video_as(limit=3, left=3)]


def test_an_app_without_a_consent_cannot_be_revoked(as_alice, as_bob, alice, video):
    assert as_bob.delete("/api/apps/video").status_code == 404
    assert consents.is_granted(user_id=alice.pk, app_id=video.pk)
    assert as_alice.delete("/api/apps/nothing").status_code == 404


def test_a_token_may_only_read_and_an_app_may_do_nothing(alice, as_video, video):
    issued = tokens.issue(user=alice, name="all", scopes=scopes.DEFAULT)
    token = APIClient(headers={"Authorization": f"Bearer {issued.secret}"})
    assert listed(token) == [video_as()]
    for client in (token, as_video):
        for answer in (
            client.put("/api/apps/video/limit", {"limit": 1}),
            client.delete("/api/apps/video"),
        ):
            assert answer.status_code == 403
            assert answer.json()["error"] == "credential_not_accepted"
    assert as_video.get("/api/apps").status_code == 403
    issued = tokens.issue(user=alice, name="jobs", scopes=["jobs:write"])
    token = APIClient(headers={"Authorization": f"Bearer {issued.secret}"})
    assert token.get("/api/apps").status_code == 403


def test_an_app_has_its_own_longest_reservation(as_alice, video):
    App.objects.filter(pk=video.pk).update(max_ttl_seconds=120)
    answer = as_alice.post("/api/jobs", RENDER | {"ttl_seconds": 121})
    assert answer.status_code == 400
    assert answer.json() == {
        "error": "ttl_too_long",
        "message": "This app reserves credits for at most 120 seconds.",
        "max_ttl_seconds": 120,
    }
    assert as_alice.post("/api/jobs", RENDER | {"ttl_seconds": 120}).status_code == 201
    assert as_alice.post("/api/jobs", RENDER).status_code == 201
    job = Job.objects.latest("created_at")
    assert (job.expires_at - job.created_at).total_seconds() == 120
