"""Cosmiv guide, "Billing API", and reviv's purchase, with the Stripe emulator."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from payments import gateway
from payments.models import Plan, PlanCheckout, Purchase, Subscription
from tests.contracts.reviv.test_refresh import bearer, sign_in
from tests.till import Till, credits_of
from wallet.models import Grant

PLANS = "/api/v2/billing/plans"
CHECKOUT = "/api/v2/billing/checkout"
SUBSCRIPTION = "/api/v2/billing/subscription"
PORTAL = "/api/v2/billing/portal"
PURCHASE = "/api/credits/purchase/"
SESSIONS = "/v1/checkout/sessions"
FREE = {
    "plan": "free",
    "status": "active",
    "current_period_end": None,
    "cancel_at_period_end": False,
    "credits_per_period": 0,
}


@pytest.fixture
def as_cosmiv(alice: User) -> APIClient:
    return bearer(sign_in(alice).access_token)


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_the_guides_plans(as_stranger: APIClient) -> None:
    answer = as_stranger.get(PLANS)
    assert answer.status_code == 200
    free, pro, creator = answer.json()["plans"]
    assert free == {
        "id": "free",
        "name": "Cosmic Cadet",
        "price": 0,
        "features": ["60s limit", "Watermark"],
        "credits": 0,
        "stripe_price_id": None,
    }
    assert (pro["id"], pro["name"], pro["price"], pro["features"]) == (
        "pro",
        "Nebula Knight",
        9,
        ["120s limit", "No watermark"],
    )
    assert (creator["id"], creator["price"]) == ("creator", 19)
    Plan.objects.filter(slug="pro").update(price_cents=950)
    assert as_stranger.get(PLANS).json()["plans"][1]["price"] == 9.5


@pytest.mark.parametrize("form", ["json", "urlencoded", "multipart"])
def test_from_checkout_to_the_months_credits(
    till: Till, alice: User, as_cosmiv: APIClient, form: str
) -> None:
    assert as_cosmiv.get(SUBSCRIPTION).json() == FREE
    if form == "urlencoded":
        kind = "application/x-www-form-urlencoded"
        answer = as_cosmiv.post(CHECKOUT, "plan=pro", content_type=kind)
    else:
        answer = as_cosmiv.post(CHECKOUT, {"plan": "pro"}, format=form)
    assert answer.status_code == 200
    said = answer.json()
    assert set(said) == {"checkout_url", "session_id"}
    assert said["checkout_url"].startswith("http")
    assert till.stripe.pay(said["session_id"])["error"] is None
    assert as_cosmiv.get(SUBSCRIPTION).json() == FREE
    till.catch_up()
    standing = as_cosmiv.get(SUBSCRIPTION).json()
    assert standing.pop("current_period_end")
    assert standing == {
        "plan": "pro",
        "status": "active",
        "cancel_at_period_end": False,
        "credits_per_period": 10,
    }
    assert credits_of(alice) == 10
    grant = Grant.objects.get()
    assert (grant.source, grant.category) == ("plan", "paid")
    assert grant.expires_at is not None
    wallet = as_cosmiv.get("/api/wallet").json()
    assert wallet["account"]["plan"] == "pro"


def test_refusals(till: Till, as_cosmiv: APIClient) -> None:
    assert code(as_cosmiv.post(CHECKOUT, {"plan": "free"})) == (400, "FREE_PLAN")
    assert code(as_cosmiv.post(CHECKOUT, {"plan": "nope"})) == (404, "UNKNOWN_PLAN")
    assert code(as_cosmiv.post(CHECKOUT, {})) == (400, "VALIDATION_ERROR")
    for path in (PORTAL, f"{SUBSCRIPTION}/cancel", f"{SUBSCRIPTION}/resume"):
        assert code(as_cosmiv.post(path)) == (404, "NOT_SUBSCRIBED"), path


def test_no_second_subscription(till: Till, alice: User, as_cosmiv: APIClient) -> None:
    first = as_cosmiv.post(CHECKOUT, {"plan": "pro"}).json()
    assert as_cosmiv.post(CHECKOUT, {"plan": "pro"}).json() == first
    other = as_cosmiv.post(CHECKOUT, {"plan": "creator"}).json()
    # The first checkout is closed at Stripe, so the user cannot pay for both.
    assert gateway.session(session_id=first["session_id"]).status == "expired"
    assert till.stripe.pay(first["session_id"])["error"] is not None
    assert till.stripe.pay(other["session_id"])["error"] is None
    # Before any event has arrived:
    assert code(as_cosmiv.post(CHECKOUT, {"plan": "creator"})) == (
        409,
        "ALREADY_SUBSCRIBED",
    )
    change = as_cosmiv.post(CHECKOUT, {"plan": "pro"})
    assert change.status_code == 200
    assert change.json()["session_id"].startswith("bps_")
    till.catch_up()
    assert Subscription.objects.get().plan.slug == "creator"
    assert not PlanCheckout.objects.filter(closed_at=None).exists()
    assert credits_of(alice) == 25


def test_cancelling_at_the_end_of_the_month_and_going_on(
    till: Till, alice: User, as_cosmiv: APIClient
) -> None:
    subscription = till.subscribe(alice)
    till.catch_up()
    ending = as_cosmiv.post(f"{SUBSCRIPTION}/cancel").json()
    assert (ending["plan"], ending["cancel_at_period_end"]) == ("pro", True)
    going_on = as_cosmiv.post(f"{SUBSCRIPTION}/resume").json()
    assert going_on["cancel_at_period_end"] is False
    assert "portal_url" in as_cosmiv.post(PORTAL).json()
    till.stripe.control(f"subscriptions/{subscription}/end")
    till.catch_up()
    assert as_cosmiv.get(SUBSCRIPTION).json() == FREE
    assert credits_of(alice) == 10


def test_an_upgrade_brings_the_rest_of_the_month_in_proportion(
    till: Till, alice: User
) -> None:
    subscription = till.subscribe(alice)
    till.catch_up()
    live = gateway.subscription(subscription_id=subscription)
    till.move(subscription, live.items[0].id, "creator")
    till.catch_up()
    # A full month of 25 credits less a full month of 10.
    assert Subscription.objects.get().plan.slug == "creator"
    assert 24 < credits_of(alice) <= 25


def test_a_price_may_change_while_stripes_answer_is_lost(
    till: Till, alice: User, as_cosmiv: APIClient
) -> None:
    till.fault(SESSIONS, count=3, lose_answer=True)
    assert as_cosmiv.post(CHECKOUT, {"plan": "pro"}).status_code == 503
    Plan.objects.filter(slug="pro").update(price_cents=1000)
    assert as_cosmiv.post(CHECKOUT, {"plan": "pro"}).status_code == 200


class TestPurchase:
    def test_a_repeated_key_is_one_purchase_and_the_same_bytes(
        self, till: Till, as_cosmiv: APIClient
    ) -> None:
        key = {"Idempotency-Key": "k1"}
        first = as_cosmiv.post(PURCHASE, {"sku": "PACK_5"}, headers=key)
        again = as_cosmiv.post(PURCHASE, {"sku": "PACK_5"}, headers=key)
        assert first.status_code == 200
        assert set(first.json()) == {"checkout_url"}
        assert again.content == first.content
        assert again["Idempotent-Replayed"] == "true"
        assert Purchase.objects.count() == 1
        other = as_cosmiv.post(PURCHASE, {"sku": "NOPE"}, headers=key)
        assert other.status_code == 422

    def test_a_lost_response_of_stripe_creates_no_second_session(
        self, till: Till, as_cosmiv: APIClient
    ) -> None:
        till.fault(SESSIONS, count=1, lose_answer=True)
        answer = as_cosmiv.post(PURCHASE, {"sku": "PACK_5"})
        assert answer.status_code == 200
        asked = till.stripe.requests(SESSIONS)
        assert len({one["idempotency_key"] for one in asked}) == 1
        assert len(till.stripe.client.v1.checkout.sessions.list().data) == 1

    def test_a_purchase_that_stripe_refused_continues_under_the_same_key(
        self, till: Till, as_cosmiv: APIClient
    ) -> None:
        key = {"Idempotency-Key": "k2"}
        till.fault(SESSIONS, count=9, status=500)
        down = as_cosmiv.post(PURCHASE, {"sku": "PACK_5"}, headers=key)
        assert code(down) == (503, "SERVICE_UNAVAILABLE")
        assert down["Retry-After"] == "5"
        till.stripe.call("DELETE", "/_emulator/faults")
        up = as_cosmiv.post(PURCHASE, {"sku": "PACK_5"}, headers=key)
        assert up.status_code == 200
        assert Purchase.objects.count() == 1

    def test_stripe_returns_the_payer_to_the_frontend(
        self, till: Till, as_cosmiv: APIClient, settings: Any
    ) -> None:
        as_cosmiv.post(PURCHASE, {"sku": "PACK_5"})
        [asked] = till.stripe.requests(SESSIONS)
        frontend = settings.FRONTEND_URL
        assert asked["params"]["success_url"] == (
            f"{frontend}/payment/success?session_id={{CHECKOUT_SESSION_ID}}"
        )
        assert asked["params"]["cancel_url"] == f"{frontend}/payment/cancelled"
