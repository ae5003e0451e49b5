"""Subscriptions: their life from the first invoice to the end."""

import copy
import datetime as dt

from . import customers, invoices
from .errors import Refused
from .events import changed, emit
from .state import Obj, State

ENDED = ("canceled", "incomplete_expired")
DAYS = {"day": 1, "week": 7}


def period_end(start: int, recurring: Obj) -> int:
    """Return the end of a period: after a month the same day, or the month's last."""
    count: int = recurring["interval_count"]
    interval = recurring["interval"]
    if interval in DAYS:
        return start + 86400 * DAYS[interval] * count
    at = dt.datetime.fromtimestamp(start, dt.UTC)
    months = at.month - 1 + count * (12 if interval == "year" else 1)
    year, month = at.year + months // 12, months % 12 + 1
    following = dt.date(year + month // 12, month % 12 + 1, 1)
    last = (following - dt.timedelta(days=1)).day
    moved = at.replace(year=year, month=month, day=min(at.day, last))
    return int(moved.timestamp())


def start(
    state: State,
    *,
    customer: str,
    method: Obj | None,
    lines: list[tuple[Obj, int]],
    metadata: Obj,
    description: str | None = None,
    present: bool,
    cancel_at_period_end: bool = False,
) -> Obj:
    """Create a subscription and charge its first invoice.

    A declined charge leaves the subscription incomplete.
    """
    now = state.now()
    subscription = state.make(
        "subscription",
        billing_cycle_anchor=now,
        cancel_at_period_end=cancel_at_period_end,
        currency=lines[0][0]["currency"],
        customer=customer,
        default_payment_method=method["id"] if method and present else None,
        default_tax_rates=[],
        description=description,
        metadata=metadata,
        start_date=now,
        status="incomplete",
    )
    items = [_item(state, subscription, price, n, now) for price, n in lines]
    subscription["items"] = {
        "object": "list",
        "data": items,
        "has_more": False,
        "url": f"/v1/subscription_items?subscription={subscription['id']}",
    }
    state.objects[subscription["id"]] = subscription
    invoice = invoices.create(
        state, subscription, "subscription_create", cycle(state, subscription)
    )
    subscription["latest_invoice"] = invoice["id"]
    emit(state, "customer.subscription.created", subscription)
    invoices.finalize(state, invoice)
    invoices.pay(state, invoice, method, present=present)
    if invoice["status"] == "paid":
        changed(state, "customer.subscription.updated", subscription, status="active")
    return subscription


def _item(state: State, subscription: Obj, price: Obj, quantity: int, at: int) -> Obj:
    return state.make(
        "subscription_item",
        current_period_start=at,
        current_period_end=period_end(at, price["recurring"]),
        price=dict(state.objects[price["id"]]),
        quantity=quantity,
        subscription=subscription["id"],
        tax_rates=[],
    )


def cycle(state: State, subscription: Obj) -> list[Obj]:
    """Return the invoice lines of the items' current period."""
    lines = []
    for item in subscription["items"]["data"]:
        price = item["price"]
        name = state.objects[price["product"]]["name"]
        unit = f"${price['unit_amount'] / 100:.2f} / {price['recurring']['interval']}"
        period = (item["current_period_start"], item["current_period_end"])
        lines.append(
            invoices.line(
                state,
                subscription,
                item,
                amount=price["unit_amount"] * item["quantity"],
                description=f"{item['quantity']} × {name} (at {unit})",
                period=period,
            )
        )
    return lines


def method_of(state: State, subscription: Obj) -> Obj | None:
    customer = state.objects[subscription["customer"]]
    own = subscription["default_payment_method"]
    return customers.default_method(state, customer, own)


def renew(state: State, subscription: Obj) -> Obj:
    """Begin the next period now, and charge it."""
    if subscription["status"] not in ("active", "past_due", "trialing"):
        raise Refused(
            f"A subscription that is {subscription['status']} has no renewal."
        )
    if subscription["cancel_at_period_end"]:
        return end(state, subscription)
    before = {
        "items": copy.deepcopy(subscription["items"]),
        "latest_invoice": subscription["latest_invoice"],
    }
    for item in subscription["items"]["data"]:
        begins = item["current_period_end"]
        item["current_period_start"] = begins
        item["current_period_end"] = period_end(begins, item["price"]["recurring"])
    pending = state.note(subscription).pop("pending_lines", [])
    rows = pending + cycle(state, subscription)
    invoice = invoices.create(state, subscription, "subscription_cycle", rows)
    subscription["latest_invoice"] = invoice["id"]
    emit(state, "customer.subscription.updated", subscription, before)
    invoices.finalize(state, invoice)
    charge_invoice(state, invoice)
    return subscription


def charge_invoice(
    state: State, invoice: Obj, method: Obj | None = None, *, present: bool = False
) -> Refused | None:
    """Charge an open invoice, and update its subscription's status."""
    parent = invoice["parent"]["subscription_details"]
    subscription = state.objects[parent["subscription"]]
    method = method or method_of(state, subscription)
    refused = invoices.pay(state, invoice, method, present=present)
    _follow(state, subscription, invoice)
    return refused


def _follow(state: State, subscription: Obj, invoice: Obj) -> None:
    if subscription["status"] in ENDED:
        return
    status = subscription["status"]
    if invoice["status"] == "paid":
        status = "active"
    elif status == "active" and _is_refused(state, invoice):
        status = "past_due"
    changed(state, "customer.subscription.updated", subscription, status=status)


def _is_refused(state: State, invoice: Obj) -> bool:
    return bool(invoices.intent_of(state, invoice)["status"] != "processing")


def settle(state: State, invoice: Obj, *, paid: bool) -> None:
    """Let the bank debit of an invoice succeed (`paid`), or fail."""
    invoices.settle(state, invoice, paid=paid)
    parent = invoice["parent"]["subscription_details"]
    _follow(state, state.objects[parent["subscription"]], invoice)


def end(state: State, subscription: Obj, params: Obj | None = None) -> Obj:
    """End a subscription now, without a refund."""
    if subscription["status"] in ENDED:
        raise Refused(
            f"No such subscription: '{subscription['id']}'",
            status=404,
            code="resource_missing",
            param="id",
        )
    at = state.now()
    details = (params or {}).get("cancellation_details", {})
    stored_details = subscription["cancellation_details"] or {}
    subscription.update(
        status="canceled",
        canceled_at=subscription["canceled_at"] or at,
        ended_at=at,
        cancellation_details={
            "comment": details.get("comment") or stored_details.get("comment"),
            "feedback": details.get("feedback") or stored_details.get("feedback"),
            "reason": "cancellation_requested",
        },
    )
    for invoice in state.each("invoice", status="open"):
        parent = invoice["parent"]["subscription_details"]
        if parent["subscription"] == subscription["id"]:
            invoice["auto_advance"] = False
    emit(state, "customer.subscription.deleted", subscription)
    return subscription


def renew_due(state: State) -> None:
    """Renew the subscriptions of which the period has ended."""
    for subscription in list(state.each("subscription")):
        if subscription["status"] not in ("active", "past_due"):
            continue
        if subscription["items"]["data"][0]["current_period_end"] <= state.now():
            renew(state, subscription)
