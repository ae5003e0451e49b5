"""Operations without a browser, against Stripe's own test mode and the emulator.

    STRIPE_LIVE_TEST_KEY=sk_test_… ./dev test tests/devtools/test_stripe_live.py

The tests of Stripe are skipped without a key. The emulator must give the same results,
so a difference between the two fails a test.
"""

import os
from collections.abc import Callable
from typing import Any

import pytest
import stripe

from tests.devtools.test_stripe_walks import pack
from tests.stripe import Emulator

KEY = os.environ.get("STRIPE_LIVE_TEST_KEY", "")


def refusals(client: stripe.StripeClient) -> list[Any]:
    """Return the error, status, code and parameter of each refused request."""
    sessions, refunds = client.v1.checkout.sessions, client.v1.refunds
    paid = client.v1.payment_intents.create(card("pm_card_visa"))
    open_session = sessions.create(pack())
    sessions.expire(open_session.id)
    wrong: list[Callable[[], Any]] = [
        lambda: sessions.create(pack(sucess_url="x")),
        lambda: sessions.create(pack(mode="sideways")),
        lambda: sessions.create(pack(customer="cus_none")),
        lambda: sessions.retrieve("cs_test_none"),
        lambda: sessions.expire(open_session.id),
        lambda: refunds.create({"payment_intent": paid.id, "amount": 501}),
        lambda: client.v1.payment_intents.create(card("pm_card_chargeDeclined")),
        lambda: client.v1.customers.list({"limit": 101}),
    ]
    return [refused_as(act) for act in wrong]


def card(method: str) -> Any:
    return {
        "amount": 500,
        "currency": "usd",
        "payment_method": method,
        "payment_method_types": ["card"],
        "confirm": True,
    }


def refused_as(act: Callable[[], Any]) -> tuple[Any, ...]:
    with pytest.raises(stripe.StripeError) as refused:
        act()
    error: Any = refused.value
    return type(error).__name__, error.http_status, error.code, error.param


def walk(client: stripe.StripeClient) -> list[Any]:
    """Use the API from a checkout to a subscription's end. Returns what it showed."""
    seen: list[Any] = []
    sessions = client.v1.checkout.sessions
    made = sessions.create(pack())
    seen.append((made.status, made.payment_status, made.amount_total, made.mode))
    seen.append(made.metadata and made.metadata["sku"])
    seen.append(sessions.expire(made.id).status)
    customer = client.v1.customers.create({"email": "walk@example.com"})
    method = client.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    intent = client.v1.payment_intents.create(
        card(method.id) | {"customer": customer.id, "off_session": True}
    )
    seen.append((intent.status, intent.amount_received))
    part = client.v1.refunds.create({"payment_intent": intent.id, "amount": 200})
    seen.append((part.status, part.amount))
    charge = client.v1.charges.retrieve(str(intent.latest_charge))
    seen.append((charge.amount_refunded, charge.refunded, charge.disputed))
    price = client.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": 900,
            "recurring": {"interval": "month"},
            "product_data": {"name": "Pro"},
        }
    )
    begun = client.v1.subscriptions.create(
        {
            "customer": customer.id,
            "items": [{"price": price.id}],
            "default_payment_method": method.id,
        }
    )
    seen.append((begun.status, begun.cancel_at_period_end))
    off = client.v1.subscriptions.update(begun.id, {"cancel_at_period_end": True})
    seen.append((off.cancel_at_period_end, off.cancel_at is not None))
    seen.append(client.v1.subscriptions.cancel(begun.id).status)
    return seen


SEEN = [
    ("open", "unpaid", 499, "payment"),
    "PACK_5",
    "expired",
    ("succeeded", 500),
    ("succeeded", 200),
    (200, False, False),
    ("active", False),
    (True, True),
    "canceled",
]
REFUSED = [
    ("InvalidRequestError", 400, "parameter_unknown", "sucess_url"),
    ("InvalidRequestError", 400, None, "mode"),
    ("InvalidRequestError", 400, "resource_missing", "customer"),
    ("InvalidRequestError", 404, "resource_missing", "id"),
    ("InvalidRequestError", 400, None, None),
    ("InvalidRequestError", 400, None, "amount"),
    ("CardError", 402, "card_declined", None),
    ("InvalidRequestError", 400, "parameter_invalid_integer", "limit"),
]


@pytest.fixture
def live() -> stripe.StripeClient:
    if not KEY:
        pytest.skip("STRIPE_LIVE_TEST_KEY is not set: no request to Stripe itself")
    assert KEY.startswith("sk_test_"), "only a test key"
    return stripe.StripeClient(KEY)


@pytest.mark.stripe_live
def test_stripe_gives_these_results(live: stripe.StripeClient) -> None:
    assert walk(live) == SEEN


@pytest.mark.stripe_live
def test_stripe_gives_these_refusals(live: stripe.StripeClient) -> None:
    assert refusals(live) == REFUSED


def test_the_emulator_gives_these_results(stripe_emulator: Emulator) -> None:
    assert walk(stripe_emulator.client) == SEEN


def test_the_emulator_gives_these_refusals(stripe_emulator: Emulator) -> None:
    assert refusals(stripe_emulator.client) == REFUSED
