"""The official SDK, unchanged, against the emulator: what the product relies on.

The same walks run against Stripe's own test mode where STRIPE_LIVE_TEST_KEY is given;
see test_stripe_live.py.
"""

from typing import Any

import pytest
import stripe

from tests.stripe import Emulator

BACK = "https://shop.example/done?session_id={CHECKOUT_SESSION_ID}"


def pack(**more: Any) -> Any:
    line = {
        "price_data": {
            "currency": "usd",
            "unit_amount": 499,
            "product_data": {"name": "5 credits"},
        },
        "quantity": 1,
    }
    return {
        "mode": "payment",
        "success_url": BACK,
        "cancel_url": "https://shop.example/cancelled",
        "line_items": [line],
        "metadata": {"sku": "PACK_5"},
        "client_reference_id": "account-7",
        **more,
    }


def test_a_checkout_is_paid(stripe_emulator: Emulator) -> None:
    sessions = stripe_emulator.client.v1.checkout.sessions
    made = sessions.create(pack(payment_intent_data={"metadata": {"sku": "PACK_5"}}))
    assert (made.status, made.payment_status) == ("open", "unpaid")
    assert made.payment_intent is None
    assert made.url is not None

    assert stripe_emulator.pay(made.id, email="a@example.com")["error"] is None

    paid = sessions.retrieve(
        made.id, {"expand": ["line_items", "payment_intent.latest_charge"]}
    )
    intent: Any = paid.payment_intent
    assert (paid.status, paid.payment_status, paid.url) == ("complete", "paid", None)
    assert (paid.amount_total, paid.currency) == (499, "usd")
    assert paid.client_reference_id == "account-7"
    assert paid.metadata is not None
    assert paid.metadata["sku"] == "PACK_5"
    assert paid.line_items is not None
    assert [line.description for line in paid.line_items.data] == ["5 credits"]
    assert intent.metadata["sku"] == "PACK_5"
    assert intent.latest_charge.metadata["sku"] == "PACK_5"
    assert intent.latest_charge.paid
    assert [event.type for event in stripe_emulator.events()] == [
        "product.created",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ]


def test_a_declined_card_leaves_the_checkout_open(stripe_emulator: Emulator) -> None:
    sessions = stripe_emulator.client.v1.checkout.sessions
    made = sessions.create(pack())
    said = stripe_emulator.pay(made.id, card="4000000000000002")["error"]
    assert said["code"] == "card_declined"
    assert sessions.retrieve(made.id).status == "open"
    assert stripe_emulator.pay(made.id)["error"] is None
    assert sessions.retrieve(made.id).payment_status == "paid"


def test_a_checkout_expires_once(stripe_emulator: Emulator) -> None:
    sessions = stripe_emulator.client.v1.checkout.sessions
    made = sessions.create(pack())
    assert sessions.expire(made.id).status == "expired"
    with pytest.raises(stripe.InvalidRequestError, match="can be expired"):
        sessions.expire(made.id)
    assert stripe_emulator.pay(made.id)["error"]["message"] == (
        "This session is expired."
    )
    assert [e.type for e in stripe_emulator.events("checkout.*")] == [
        "checkout.session.expired"
    ]


def monthly(emulator: Emulator, cents: int, name: str) -> stripe.Price:
    return emulator.client.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": cents,
            "recurring": {"interval": "month"},
            "product_data": {"name": name},
        }
    )


def subscribe(emulator: Emulator, price: str, **how: Any) -> stripe.Subscription:
    sessions = emulator.client.v1.checkout.sessions
    made = sessions.create(
        {
            "mode": "subscription",
            "success_url": BACK,
            "line_items": [{"price": price, "quantity": 1}],
            "subscription_data": {"metadata": {"plan": "pro"}},
        }
    )
    assert emulator.pay(made.id, **how)["error"] is None
    done: Any = sessions.retrieve(made.id, {"expand": ["subscription"]})
    assert done.payment_status == "paid"
    subscription: stripe.Subscription = done.subscription
    return subscription


def test_a_subscription_renews(stripe_emulator: Emulator) -> None:
    price = monthly(stripe_emulator, 900, "Pro")
    began = subscribe(stripe_emulator, price.id)
    assert began.status == "active"
    first = began["items"].data[0]

    stripe_emulator.control(f"subscriptions/{began.id}/renew")

    now = stripe_emulator.client.v1.subscriptions.retrieve(began.id)
    second = now["items"].data[0]
    assert second.current_period_start == first.current_period_end
    invoices = stripe_emulator.client.v1.invoices.list({"subscription": began.id}).data
    assert [i.billing_reason for i in invoices] == [
        "subscription_cycle",
        "subscription_create",
    ]
    assert {i.status for i in invoices} == {"paid"}
    parent: Any = invoices[0].parent
    assert parent.subscription_details.metadata["plan"] == "pro"
    period = invoices[0].lines.data[0].period
    assert (period.start, period.end) == (
        second.current_period_start,
        second.current_period_end,
    )


def test_an_event_is_signed_for_whoever_knows_the_secret(
    stripe_emulator: Emulator,
) -> None:
    client = stripe_emulator.client
    client.v1.checkout.sessions.expire(client.v1.checkout.sessions.create(pack()).id)
    event = stripe_emulator.events("checkout.session.expired")[0]
    body, headers = stripe_emulator.signed(event.id)
    header = headers["Stripe-Signature"]
    assert client.construct_event(body, header, "whsec_emulator").id == event.id
    for spoilt, secret in ((body + " ", "whsec_emulator"), (body, "whsec_other")):
        with pytest.raises(stripe.SignatureVerificationError):
            client.construct_event(spoilt, header, secret)
