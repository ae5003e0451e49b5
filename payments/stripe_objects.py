"""Stripe's objects as small dataclasses: only the facts that our rules decide on.

Each `of` parses an object as the SDK returns it. Amounts are US cents.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

# Whether a status means that the money has gone back, or may go back.
REFUND_COUNTS = {
    "pending": True,
    "requires_action": True,
    "succeeded": True,
    "failed": False,
    "canceled": False,
}
DISPUTE_COUNTS = {
    "needs_response": True,
    "under_review": True,
    "lost": True,
    "appeal_needs_response": True,
    "appeal_under_review": True,
    "won": False,
    "prevented": False,
    # An inquiry has taken no money yet.
    "warning_needs_response": False,
    "warning_under_review": False,
    "warning_closed": False,
}


# Stripe's ids and type names: printable, and no longer than our columns.
_NAME = re.compile(r"[\x21-\x7e]{1,255}")
# The last second that a datetime can represent.
_LAST_SECOND = 253_402_300_799


class UnknownStatus(ValueError):
    """Stripe returned a status that this version does not know."""


@dataclass(frozen=True, slots=True)
class UnreadableObject:
    """An object of a list that could not be parsed, and the reason."""

    id: str
    why: str


@dataclass(frozen=True, slots=True)
class CheckoutSession:
    """A Checkout session: Stripe's page for one payment or subscription."""

    id: str
    url: str
    mode: str
    status: str
    payment_status: str
    currency: str
    subtotal_cents: int
    total_cents: int
    payment_intent: str | None
    subscription: str | None
    reference: str
    made_for: str

    @classmethod
    def from_stripe(cls, it: Any) -> "CheckoutSession":
        return cls(
            id=it["id"],
            url=it.get("url") or "",
            mode=it["mode"],
            status=it.get("status") or "",
            payment_status=it["payment_status"],
            currency=it.get("currency") or "",
            subtotal_cents=it.get("amount_subtotal") or 0,
            total_cents=it.get("amount_total") or 0,
            payment_intent=id_of(it.get("payment_intent")),
            subscription=id_of(it.get("subscription")),
            reference=it.get("client_reference_id") or "",
            made_for=(it.get("metadata") or {}).get("focus", ""),
        )

    @property
    def paid(self) -> bool:
        """Whether the money has arrived."""
        # A bank debit is `complete` and `unpaid` for days.
        settled = self.payment_status in ("paid", "no_payment_required")
        return self.status == "complete" and settled


@dataclass(frozen=True, slots=True)
class Intent:
    """A payment intent. `refusal` is the code of its last failure, else empty."""

    id: str
    status: str
    currency: str
    received_cents: int
    customer: str | None
    payment_method: str | None
    attempt: str
    made_for: str
    refusal: str

    @classmethod
    def from_stripe(cls, it: Any) -> "Intent":
        error = it.get("last_payment_error") or {}
        metadata = it.get("metadata") or {}
        return cls(
            id=it["id"],
            status=it["status"],
            currency=it["currency"],
            received_cents=it.get("amount_received") or 0,
            customer=id_of(it.get("customer")),
            payment_method=id_of(it.get("payment_method")),
            attempt=metadata.get("attempt", ""),
            made_for=metadata.get("focus", ""),
            refusal=_refusal(error),
        )


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """A line of an invoice: a price, its quantity and amount, and its period's end."""

    price: str
    amount_cents: int
    quantity: int
    proration: bool
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice with all of its lines."""

    id: str
    status: str
    currency: str
    total_cents: int
    paid_cents: int
    # The part that the customer's balance at Stripe paid: credit notes, cheaper plans.
    from_balance_cents: int
    customer: str | None
    subscription: str | None
    payment_intent: str | None
    lines: tuple[InvoiceLine, ...]

    @classmethod
    def from_stripe(cls, it: Any) -> "Invoice":
        parent = (it.get("parent") or {}).get("subscription_details") or {}
        return cls(
            id=it["id"],
            status=it.get("status") or "",
            currency=it["currency"],
            total_cents=it.get("total") or 0,
            paid_cents=it.get("amount_paid") or 0,
            from_balance_cents=_used_up(
                it.get("starting_balance"), it.get("ending_balance")
            ),
            customer=id_of(it.get("customer")),
            subscription=id_of(parent.get("subscription")),
            payment_intent=_paid_by(it.get("payments")),
            lines=tuple(_line(line) for line in it["lines"]["data"]),
        )


@dataclass(frozen=True, slots=True)
class SubscriptionItem:
    """One price of a subscription: a plan of ours, or an add-on."""

    id: str
    price: str
    ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class StripeSubscription:
    """A subscription with all of its items."""

    id: str
    status: str
    customer: str | None
    items: tuple[SubscriptionItem, ...]
    latest_invoice: str | None
    cancel_at_period_end: bool

    @classmethod
    def from_stripe(cls, it: Any) -> "StripeSubscription":
        return cls(
            id=it["id"],
            status=it["status"],
            customer=id_of(it.get("customer")),
            items=tuple(_item(each) for each in it["items"]["data"]),
            latest_invoice=id_of(it.get("latest_invoice")),
            # The customer portal may set a date in place of the flag.
            cancel_at_period_end=bool(
                it.get("cancel_at_period_end") or it.get("cancel_at")
            ),
        )


@dataclass(frozen=True, slots=True)
class StripeReversal:
    """A refund or a dispute. `counts`: in this status the money is not ours."""

    id: str
    kind: str
    amount_cents: int
    status: str
    counts: bool
    payment_intent: str | None

    @classmethod
    def from_stripe(cls, it: Any) -> "StripeReversal":
        kind = it["object"]
        known = REFUND_COUNTS if kind == "refund" else DISPUTE_COUNTS
        # Refunds of some payment methods have no status and complete at once.
        status = it.get("status") or "succeeded"
        if status not in known:
            raise UnknownStatus(f"{kind} {it['id']} is “{status}”.")
        return cls(
            id=it["id"],
            kind=kind,
            amount_cents=it["amount"],
            status=status,
            counts=known[status],
            payment_intent=id_of(it.get("payment_intent")),
        )


@dataclass(frozen=True, slots=True)
class EventNotice:
    """An event of Stripe's. Only the ids of the object in it are used: its other fields
    may be older than what the API returns.
    """

    id: str
    type: str
    livemode: bool
    happened_at: datetime
    object_id: str
    payment_intent: str | None

    @classmethod
    def from_stripe(cls, it: Any) -> "EventNotice":
        """Raises `ValueError`, `KeyError` or `TypeError` if `it` is no event."""
        about, livemode = it["data"]["object"], it.get("livemode", False)
        if not isinstance(about, dict) or not isinstance(livemode, bool):
            raise TypeError("not an event")
        own = about["id"] if about.get("object") == "payment_intent" else None
        paid_by = own or about.get("payment_intent")
        if isinstance(paid_by, dict):
            paid_by = paid_by["id"]
        return cls(
            id=_name(it["id"]),
            type=_name(it["type"]),
            livemode=livemode,
            happened_at=moment(it["created"]),
            object_id=_name(about["id"]) if about.get("id") else "",
            payment_intent=_name(paid_by) if paid_by else None,
        )


def _name(value: Any) -> str:
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise ValueError("not a name of Stripe's")


def _refusal(error: Any) -> str:
    """Return `authentication_required`, else the bank's code, else Stripe's."""
    code = error.get("code") or ""
    if code == "authentication_required":
        return code
    return str(error.get("decline_code") or code)


def card_of(it: Any) -> str:
    """Describe a payment method as its holder knows it: `visa ending in 4242`."""
    card = it.get("card") or {}
    brand, last = card.get("brand") or "card", card.get("last4") or ""
    return f"{brand} ending in {last}" if last else brand


def moment(seconds: Any) -> datetime:
    """Return a Unix time as a datetime. Raises `ValueError` for anything else."""
    if type(seconds) is not int or not 0 <= seconds <= _LAST_SECOND:
        raise ValueError("not a time")
    return datetime.fromtimestamp(seconds, UTC)


def id_of(reference: Any) -> str | None:
    """Return the id of a reference, which Stripe may have expanded to an object."""
    if reference is None or isinstance(reference, str):
        return reference or None
    return str(reference["id"])


def _used_up(before: int | None, after: int | None) -> int:
    """Return how much of the customer's balance an invoice used.

    Stripe counts credit below zero. A draft has no ending balance yet.
    """
    if before is None or after is None:
        return 0
    return max(0, min(0, after) - min(0, before))


def _paid_by(payments: Any) -> str | None:
    """Return the payment intent that paid an invoice, if one did."""
    for each in (payments or {}).get("data", []):
        if each["status"] == "paid":
            return id_of((each.get("payment") or {}).get("payment_intent"))
    return None


def _item(it: Any) -> SubscriptionItem:
    ends = it.get("current_period_end")
    return SubscriptionItem(
        id=it["id"],
        price=id_of(it.get("price")) or "",
        ends_at=moment(ends) if ends else None,
    )


def _line(it: Any) -> InvoiceLine:
    pricing = (it.get("pricing") or {}).get("price_details") or {}
    details = (it.get("parent") or {}).get("subscription_item_details") or {}
    return InvoiceLine(
        price=id_of(pricing.get("price")) or "",
        amount_cents=it["amount"],
        quantity=it.get("quantity") or 1,
        proration=bool(details.get("proration")),
        ends_at=moment(it["period"]["end"]),
    )
