"""Invoices of subscriptions: drafts, finalisation and payment."""

import copy

from . import charges, intents
from .errors import Refused
from .events import changed, emit
from .state import Obj, State, new_id

# When Stripe's default of smart retries tries a failed invoice again, roughly.
RETRY_SECONDS = 3 * 86400


def line(
    state: State,
    subscription: Obj,
    item: Obj,
    *,
    amount: int,
    description: str,
    period: tuple[int, int],
    proration: bool = False,
) -> Obj:
    price = item["price"]
    details = {
        "invoice_item": new_id("ii_") if proration else None,
        "proration": proration,
        "proration_details": {"credited_items": None},
        "subscription": subscription["id"],
        "subscription_item": item["id"],
    }
    parent = {
        "invoice_item_details": None,
        "subscription_item_details": details,
        "type": "subscription_item_details",
    }
    return state.make(
        "line_item",
        amount=amount,
        subtotal=amount,
        currency=price["currency"],
        description=description,
        discountable=not proration,
        discount_amounts=[],
        metadata=dict(subscription["metadata"]),
        parent=parent,
        period={"start": period[0], "end": period[1]},
        pretax_credit_amounts=[],
        pricing={
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": price["unit_amount_decimal"],
        },
        quantity=item["quantity"],
        quantity_decimal=str(item["quantity"]),
        taxes=[],
    )


def create(state: State, subscription: Obj, reason: str, lines: list[Obj]) -> Obj:
    """Create a draft. A negative total is credited to the customer's balance."""
    customer = state.objects[subscription["customer"]]
    total = sum(row["amount"] for row in lines)
    balance = customer["balance"]
    due = max(0, total + balance)
    starts = [row["period"]["start"] for row in lines]
    invoice = state.make(
        "invoice",
        account_country="US",
        account_name="Focus (emulator)",
        amount_due=due,
        amount_remaining=due,
        amount_paid=0,
        billing_reason=reason,
        currency=subscription["currency"],
        customer=customer["id"],
        customer_email=customer["email"],
        customer_name=customer["name"],
        customer_tax_exempt="none",
        customer_tax_ids=[],
        default_payment_method=None,
        parent={
            "quote_details": None,
            "subscription_details": {
                "metadata": dict(subscription["metadata"]),
                "subscription": subscription["id"],
            },
            "type": "subscription_details",
        },
        period_start=min(starts),
        period_end=state.now() if reason != "subscription_cycle" else max(starts),
        starting_balance=balance,
        status="draft",
        subtotal=total,
        subtotal_excluding_tax=total,
        total=total,
        total_excluding_tax=total,
        total_discount_amounts=[],
        total_pretax_credit_amounts=[],
        total_taxes=[],
    )
    for row in lines:
        row["invoice"] = invoice["id"]
    invoice["lines"] = {
        "object": "list",
        "data": lines,
        "has_more": False,
        "url": f"/v1/invoices/{invoice['id']}/lines",
    }
    state.objects[invoice["id"]] = invoice
    emit(state, "invoice.created", invoice)
    used = due - total
    customer["balance"] = balance - used if used else balance
    return invoice


def finalize(state: State, invoice: Obj) -> None:
    customer = state.objects[invoice["customer"]]
    number = customer["next_invoice_sequence"]
    customer["next_invoice_sequence"] += 1
    at = state.now()
    invoice.update(
        status="open",
        number=f"{customer['invoice_prefix']}-{number:04}",
        effective_at=at,
        ending_balance=customer["balance"],
        auto_advance=True,
        hosted_invoice_url=f"{state.base_url}/i/{invoice['id']}",
        invoice_pdf=f"{state.base_url}/i/{invoice['id']}/pdf",
        status_transitions={**invoice["status_transitions"], "finalized_at": at},
    )
    if invoice["amount_due"]:
        intent = intents.new(
            state,
            amount=invoice["amount_due"],
            currency=invoice["currency"],
            customer=invoice["customer"],
            description="Subscription creation"
            if invoice["billing_reason"] == "subscription_create"
            else "Subscription update",
            metadata={},
            setup_future_usage="off_session",
        )
        state.add(
            "invoice_payment",
            amount_requested=invoice["amount_due"],
            currency=invoice["currency"],
            invoice=invoice["id"],
            is_default=True,
            payment={"type": "payment_intent", "payment_intent": intent["id"]},
            status="open",
        )
    emit(state, "invoice.finalized", invoice)


def payment_of(state: State, invoice: Obj) -> Obj:
    return next(state.each("invoice_payment", invoice=invoice["id"]))


def intent_of(state: State, invoice: Obj) -> Obj:
    return state.objects[payment_of(state, invoice)["payment"]["payment_intent"]]


def pay(
    state: State, invoice: Obj, method: Obj | None, *, present: bool
) -> Refused | None:
    """Charge an invoice. Returns the refusal, after which the invoice stays open."""
    if not invoice["amount_due"]:
        _paid(state, invoice)
        return None
    intent = intent_of(state, invoice)
    invoice.update(attempted=True, attempt_count=invoice["attempt_count"] + 1)
    if method is None:
        refused: Refused | None = Refused(
            "This customer has no attached payment source or default payment method. "
            "Please consider adding a default payment method.",
            code="resource_missing",
        )
    else:
        refused = charges.pay(state, intent, method, off_session=not present)
    if intent["status"] == "succeeded":
        _paid(state, invoice)
    elif intent["status"] != "processing":
        invoice["next_payment_attempt"] = state.now() + RETRY_SECONDS
        kind = "invoice.payment_failed"
        if intent["status"] == "requires_action" or (
            intent["last_payment_error"]
            and intent["last_payment_error"]["code"] == "authentication_required"
        ):
            emit(state, "invoice.payment_action_required", invoice)
        emit(state, kind, invoice)
    return refused


def _paid(state: State, invoice: Obj) -> None:
    at = state.now()
    invoice.update(
        status="paid",
        amount_paid=invoice["amount_due"],
        amount_remaining=0,
        attempted=True,
        next_payment_attempt=None,
        auto_advance=False,
        status_transitions={**invoice["status_transitions"], "paid_at": at},
    )
    emit(state, "invoice.paid", invoice)
    emit(state, "invoice.payment_succeeded", invoice)
    if invoice["amount_due"]:
        payment = payment_of(state, invoice)
        payment.update(
            status="paid",
            amount_paid=invoice["amount_due"],
            status_transitions={"canceled_at": None, "paid_at": at},
        )
        emit(state, "invoice_payment.paid", payment)


def settle(state: State, invoice: Obj, *, paid: bool) -> None:
    """Let the bank debit of an invoice succeed (`paid`), or fail."""
    charges.settle(state, intent_of(state, invoice), paid=paid)
    if paid:
        _paid(state, invoice)
    else:
        invoice["next_payment_attempt"] = state.now() + RETRY_SECONDS
        emit(state, "invoice.payment_failed", invoice)


def void(state: State, invoice: Obj) -> None:
    if invoice["status"] != "open":
        return
    transitions = {**invoice["status_transitions"], "voided_at": state.now()}
    changed(
        state,
        "invoice.voided",
        invoice,
        status="void",
        auto_advance=False,
        next_payment_attempt=None,
        status_transitions=transitions,
    )


def lines_of(state: State, name: str) -> list[Obj]:
    return copy.deepcopy(list(state.get("invoice", name)["lines"]["data"]))
