"""Focus guide, section 2: the wallet. Literal paths, whole bodies."""

import pytest
from django.db import connection

from accounts.models import App, Consent
from focus.money import MICRO
from wallet.models import Entry, Grant, Wallet

pytestmark = pytest.mark.django_db


def test_option_a_reads_the_account_and_grants_nothing(as_alice, alice, video):
    answer = as_alice.get("/api/wallet")
    assert answer.status_code == 200
    assert answer.json() == {
        "account": {
            "id": str(alice.pk),
            "clerk_id": f"focus_{alice.pk.hex}",
            "email": "alice@example.com",
            "plan": "free",
            "credits": 0,
            "reserved": 0,
        },
        "apps": [],
        "app_grant": None,
    }
    assert not Entry.objects.exists()


def test_option_b_gives_starter_credits_once(as_alice, alice, video):
    for _ in range(3):
        answer = as_alice.get("/api/wallet?app=video")
        granted_at = answer.json()["apps"][0]["granted_at"]
        assert answer.json() == {
            "account": {
                "id": str(alice.pk),
                "clerk_id": f"focus_{alice.pk.hex}",
                "email": "alice@example.com",
                "plan": "free",
                "credits": 20,
                "reserved": 0,
            },
            "apps": [
                {
                    "slug": "video",
                    "starter_credits": 20,
                    "granted": True,
                    "granted_at": granted_at,
                }
            ],
            "app_grant": {"slug": "video", "starter_credits": 20, "granted": True},
        }
        assert granted_at.endswith("Z")
    assert Grant.objects.count() == Entry.objects.count() == 1
    assert Consent.objects.filter(user=alice, app=video).count() == 1


def test_granted_means_ever_granted(as_alice, video):
    as_alice.get("/api/wallet?app=video")
    job = {"app": "video", "action": "render", "cost_estimate": 20}
    job_id = as_alice.post("/api/jobs", job).json()["job_id"]
    as_alice.post("/api/jobs/complete", {"job_id": job_id})
    video.starter_credits_micro = 7 * MICRO
    video.save()
    answer = as_alice.get("/api/wallet?app=video").json()
    assert answer["account"]["credits"] == 0
    assert answer["app_grant"]["granted"] is True
    assert answer["app_grant"]["starter_credits"] == 20


def test_an_app_without_starter_credits_still_gets_a_consent(as_alice, db):
    App.objects.create(slug="plain", name="Plain")
    answer = as_alice.get("/api/wallet?app=plain").json()
    assert answer["app_grant"] == {
        "slug": "plain",
        "starter_credits": 0,
        "granted": False,
    }
    assert answer["apps"][0]["granted_at"] is None


def test_credits_are_what_this_app_may_spend(as_alice, alice, video, give):
    rival = App.objects.create(slug="rival", name="Rival")
    give(alice, 5, only_for=rival)
    give(alice, 1)
    assert as_alice.get("/api/wallet").json()["account"]["credits"] == 6
    assert as_alice.get("/api/wallet?app=video").json()["account"]["credits"] == 21
    # Only video may spend its 20 starter credits.
    assert as_alice.get("/api/wallet?app=rival").json()["account"]["credits"] == 6
    assert as_alice.get("/api/wallet").json()["account"]["credits"] == 26


def test_a_fraction_is_shown_exactly_and_debt_below_zero(as_alice, alice, give):
    give(alice, 1)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("UPDATE wallet_wallet SET debt_micro = 1010000")
    answer = as_alice.get("/api/wallet")
    assert b'"credits":-0.01' in answer.content
    Wallet.objects.update(debt_micro=0)


@pytest.mark.parametrize("slug", ["nope", "", "VIDEO", "x" * 500, "a/b", "é"])
def test_an_unknown_app_is_404_and_changes_nothing(as_alice, video, slug):
    answer = as_alice.get(f"/api/wallet?app={slug}")
    assert answer.status_code == 404
    body = answer.json()
    assert body["error"] == "unknown_app"
    assert set(body) == {"error", "message"}
    assert not Consent.objects.exists()


def test_an_inactive_app_is_unknown(as_alice, video):
    App.objects.update(active=False)
    assert as_alice.get("/api/wallet?app=video").json()["error"] == "unknown_app"


def test_strangers_and_app_keys_have_no_wallet(as_stranger, as_video):
    answer = as_stranger.get("/api/wallet")
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthenticated")
    assert answer["WWW-Authenticate"] == "Bearer"
    answer = as_video.get("/api/wallet")
    assert answer.status_code == 403
    assert answer.json()["error"] == "credential_not_accepted"


def test_both_spellings_of_the_path_answer(as_alice):
    assert as_alice.get("/api/wallet").content == as_alice.get("/api/wallet/").content
    assert as_alice.post("/api/wallet").status_code == 405
