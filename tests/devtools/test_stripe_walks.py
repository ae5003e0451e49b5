"""The official SDK against the emulator: the operations that the product relies on.

test_stripe_live.py compares some of them with Stripe's own test mode.
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


def test_the_signature_of_an_event_verifies_with_the_secret(
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


def bought(emulator: Emulator, **more: Any) -> Any:
    sessions = emulator.client.v1.checkout.sessions
    made = sessions.create(pack(**more))
    assert emulator.pay(made.id)["error"] is None
    return sessions.retrieve(made.id, {"expand": ["payment_intent.latest_charge"]})


def test_no_more_is_refunded_than_was_paid(stripe_emulator: Emulator) -> None:
    client = stripe_emulator.client
    intent = bought(stripe_emulator).payment_intent
    first = client.v1.refunds.create({"payment_intent": intent.id, "amount": 200})
    assert (first.status, first.amount) == ("succeeded", 200)
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded"):
        client.v1.refunds.create({"payment_intent": intent.id, "amount": 300})
    assert client.v1.refunds.create({"charge": intent.latest_charge.id}).amount == 299
    with pytest.raises(stripe.InvalidRequestError) as again:
        client.v1.refunds.create({"charge": intent.latest_charge.id})
    assert again.value.code == "charge_already_refunded"
    charge = client.v1.charges.retrieve(intent.latest_charge.id)
    assert (charge.amount_refunded, charge.refunded) == (499, True)
    listed = client.v1.refunds.list({"payment_intent": intent.id}).data
    assert [refund.amount for refund in listed] == [299, 200]


def test_a_failed_refund_returns_the_money_to_the_shop(
    stripe_emulator: Emulator,
) -> None:
    client = stripe_emulator.client
    intent = bought(stripe_emulator).payment_intent
    refund = client.v1.refunds.create({"payment_intent": intent.id})
    stripe_emulator.control(f"refunds/{refund.id}/fail")
    assert client.v1.refunds.retrieve(refund.id).status == "failed"
    assert client.v1.charges.retrieve(intent.latest_charge.id).amount_refunded == 0
    assert stripe_emulator.events("refund.failed")


@pytest.mark.parametrize("won", [True, False])
def test_a_dispute_is_decided_once(stripe_emulator: Emulator, won: bool) -> None:
    client = stripe_emulator.client
    intent = bought(stripe_emulator).payment_intent
    opened = stripe_emulator.control(f"charges/{intent.id}/dispute", amount=300)
    assert client.v1.charges.retrieve(intent.latest_charge.id).disputed
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"payment_intent": intent.id})
    assert refused.value.code == "charge_disputed"
    stripe_emulator.control(f"disputes/{opened['id']}/{'win' if won else 'lose'}")
    dispute = client.v1.disputes.retrieve(opened["id"])
    assert (dispute.status, dispute.amount) == ("won" if won else "lost", 300)
    moved = sum(row.amount for row in dispute.balance_transactions)
    assert moved == (0 if won else -300)
    reinstated = ["charge.dispute.funds_reinstated"] if won else []
    assert [event.type for event in stripe_emulator.events("charge.dispute.*")] == [
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        *reinstated,
        "charge.dispute.closed",
    ]
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        client.v1.disputes.close(opened["id"])


def test_a_saved_card_is_charged_off_session(stripe_emulator: Emulator) -> None:
    client = stripe_emulator.client
    paid = bought(
        stripe_emulator, payment_intent_data={"setup_future_usage": "off_session"}
    )
    method = paid.payment_intent.payment_method
    top_up: Any = {
        "amount": 1000,
        "currency": "usd",
        "customer": paid.customer,
        "payment_method": method,
        "off_session": True,
        "confirm": True,
    }
    assert client.v1.payment_intents.create(top_up).status == "succeeded"
    for outcome in ("insufficient_funds", "authentication_required"):
        stripe_emulator.control(f"payment_methods/{method}/next", outcome=outcome)
        with pytest.raises(stripe.CardError) as declined:
            client.v1.payment_intents.create(top_up)
        error: Any = declined.value.error
        assert (declined.value.http_status, error.decline_code) == (402, outcome)
        assert error.payment_intent.status == "requires_payment_method"
    statuses = [i.status for i in client.v1.payment_intents.list().data]
    assert statuses == ["requires_payment_method"] * 2 + ["succeeded"] * 2


@pytest.mark.parametrize("paid", [True, False])
def test_a_bank_debit_is_settled_later(stripe_emulator: Emulator, paid: bool) -> None:
    sessions = stripe_emulator.client.v1.checkout.sessions
    made = sessions.create(pack(payment_method_types=["sepa_debit"]))
    assert stripe_emulator.pay(made.id, sepa_debit=True)["error"] is None
    done = sessions.retrieve(made.id)
    assert (done.status, done.payment_status) == ("complete", "unpaid")
    stripe_emulator.control(f"checkout/{made.id}/settle", paid=paid)
    now = sessions.retrieve(made.id).payment_status
    assert now == ("paid" if paid else "unpaid")
    told = [event.type for event in stripe_emulator.events("checkout.*")]
    word = "succeeded" if paid else "failed"
    assert told == [
        "checkout.session.completed",
        f"checkout.session.async_payment_{word}",
    ]


def test_a_failed_renewal_is_past_due_until_it_is_paid(
    stripe_emulator: Emulator,
) -> None:
    client = stripe_emulator.client
    price = monthly(stripe_emulator, 900, "Pro")
    began = subscribe(stripe_emulator, price.id)
    control = stripe_emulator.control
    control(f"subscriptions/{began.id}/renew", outcome="insufficient_funds")
    now = client.v1.subscriptions.retrieve(began.id)
    assert now.status == "past_due"
    invoice: Any = now.latest_invoice
    assert client.v1.invoices.retrieve(invoice).status == "open"
    assert client.v1.invoices.pay(invoice).status == "paid"
    assert client.v1.subscriptions.retrieve(began.id).status == "active"
    # A charge's invoice is found by its payment.
    payment: Any = client.v1.invoice_payments.list({"invoice": invoice}).data[0]
    intent = payment.payment.payment_intent
    found: Any = client.v1.invoice_payments.list(
        {"payment": {"type": "payment_intent", "payment_intent": intent}}
    )
    assert found.data[0].invoice == invoice


def test_a_plan_is_changed_cancelled_resumed_and_ends(
    stripe_emulator: Emulator,
) -> None:
    client = stripe_emulator.client
    pro = monthly(stripe_emulator, 900, "Pro")
    creator = monthly(stripe_emulator, 1900, "Creator")
    began = subscribe(stripe_emulator, pro.id)
    subscriptions = client.v1.subscriptions
    item = began["items"].data[0].id

    up: Any = subscriptions.update(
        began.id,
        {
            "items": [{"id": item, "price": creator.id}],
            "proration_behavior": "always_invoice",
            "expand": ["latest_invoice"],
        },
    )
    assert up.latest_invoice.billing_reason == "subscription_update"
    assert up.latest_invoice.amount_due == 1000
    assert [line.amount for line in up.latest_invoice.lines.data] == [-900, 1900]

    subscriptions.update(began.id, {"items": [{"id": item, "price": pro.id}]})
    stripe_emulator.control(f"subscriptions/{began.id}/renew")
    renewed: Any = subscriptions.retrieve(began.id, {"expand": ["latest_invoice"]})
    # The downgrade's credit comes with the next invoice.
    assert renewed.latest_invoice.total == 900 + 900 - 1900

    off = subscriptions.update(began.id, {"cancel_at_period_end": True})
    assert off.cancel_at == off["items"].data[0].current_period_end
    assert (
        subscriptions.update(began.id, {"cancel_at_period_end": False}).cancel_at
        is None
    )
    subscriptions.update(began.id, {"cancel_at_period_end": True})
    stripe_emulator.control(f"subscriptions/{began.id}/renew")
    assert subscriptions.retrieve(began.id).status == "canceled"
    assert stripe_emulator.events("customer.subscription.deleted")
