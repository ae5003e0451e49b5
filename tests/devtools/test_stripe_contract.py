"""Every kind of object and event of the emulator is valid by Stripe's document.

In all tests the emulator also validates each of its responses (`--check`), and refuses
parameters that the document does not have.
"""

import json
from typing import Any

import pytest

from devtools.stripe_emulator.routes import ACTIONS
from devtools.stripe_emulator.spec import answers, prune
from devtools.stripe_emulator.spec.document import document, skeleton
from devtools.stripe_emulator.state import PREFIXES
from tests.devtools.test_stripe_walks import monthly, pack, subscribe
from tests.stripe import Emulator

EVENT_TYPES = {
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.dispute.funds_reinstated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.updated",
    "charge.failed",
    "charge.pending",
    "charge.refund.updated",
    "charge.refunded",
    "charge.succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "checkout.session.expired",
    "customer.created",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.updated",
    "customer.updated",
    "invoice.created",
    "invoice.finalized",
    "invoice.paid",
    "invoice.payment_action_required",
    "invoice.payment_failed",
    "invoice.payment_succeeded",
    "invoice_payment.paid",
    "payment_intent.canceled",
    "payment_intent.created",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.succeeded",
    "payment_method.attached",
    "payment_method.detached",
    "price.created",
    "price.updated",
    "product.created",
    "product.updated",
    "refund.created",
    "refund.failed",
    "refund.updated",
}


def cause_every_event(emulator: Emulator) -> None:
    """Use every operation, so that the emulator emits each of EVENT_TYPES."""
    client, control = emulator.client.v1, emulator.control
    sessions = client.checkout.sessions
    ids = [sessions.create(pack(customer_creation="always")).id for _ in range(3)]
    sessions.expire(sessions.create(pack()).id)
    emulator.pay(ids[0], card="4000000000000002")
    emulator.pay(ids[0])
    emulator.pay(ids[1], sepa_debit=True)
    emulator.pay(ids[2], sepa_debit=True)
    control(f"checkout/{ids[1]}/settle", paid=True)
    control(f"checkout/{ids[2]}/settle", paid=False)
    paid: Any = sessions.retrieve(ids[0])
    disputed = control(f"charges/{paid.payment_intent}/dispute", inquiry=True)["id"]
    client.disputes.update(disputed, {"submit": True})
    control(f"disputes/{disputed}/lose")
    control(f"disputes/{disputed}/win")
    debit: Any = sessions.retrieve(ids[1])
    refund = client.refunds.create({"payment_intent": debit.payment_intent})
    control(f"refunds/{refund.id}/fail")

    price = monthly(emulator, 900, "Pro")
    client.prices.update(price.id, {"nickname": "Pro, monthly"})
    client.products.update(str(price.product), {"description": "More credits"})
    subscription = subscribe(emulator, price.id)
    customer = str(subscription.customer)
    renew = f"subscriptions/{subscription.id}/renew"
    for outcome in ("ok", "generic_decline", "authentication_required"):
        control(renew, outcome=outcome)
    client.customers.update(customer, {"name": "Alice"})
    client.billing_portal.sessions.create({"customer": customer})

    asks = client.payment_methods.attach("pm_card_visa", {"customer": customer})
    control(f"payment_methods/{asks.id}/next", outcome="authentication_required")
    intent = client.payment_intents.create(
        {
            "amount": 500,
            "currency": "usd",
            "customer": customer,
            "payment_method": asks.id,
            "confirm": True,
        }
    )
    assert intent.status == "requires_action"
    client.payment_intents.cancel(intent.id)
    client.payment_methods.detach(asks.id)
    client.customers.delete(customer)


def test_every_event_and_object_is_valid(stripe_emulator: Emulator) -> None:
    cause_every_event(stripe_emulator)
    seen, wrong = set(), []
    for event in stripe_emulator.events():
        body = json.loads(str(event))
        wrong += [(event.type, p) for p in answers.problems("event", body)]
        found = body["data"]["object"]
        seen.add(event.type)
        kind = found["object"]
        wrong += [(event.type, p) for p in answers.problems(kind, found)]
    assert wrong == []
    assert seen == EVENT_TYPES


def test_every_kind_of_object_starts_out_valid() -> None:
    for kind in PREFIXES:
        assert answers.problems(kind, skeleton(kind)) == []


@pytest.mark.parametrize("spoilt", [{"mode": "bogus"}, {"colour": "red"}])
def test_an_invalid_object_has_problems(spoilt: Any) -> None:
    made = skeleton("checkout.session")
    assert answers.problems("checkout.session", made) == []
    assert answers.problems("checkout.session", {**made, **spoilt})
    assert answers.problems("checkout.session", {"id": "cs_test_1"})


def test_the_document_describes_every_route() -> None:
    described = {
        (method, path)
        for path, methods in document()["paths"].items()
        for method in methods
    }
    assert set(ACTIONS) == described
    assert set(document()["paths"]) == set(prune.OPERATIONS)
