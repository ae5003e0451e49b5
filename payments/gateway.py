"""Every request that we send to Stripe, as one function each.

Only this file and `payments.stripe_client` talk to Stripe. Functions return
`payments.stripe_objects` and raise domain errors. A call takes seconds at worst, so no
transaction may be open. A call that creates an object carries an idempotency key, so a
retry after a crash creates it once.

Functions that list objects yield `UnreadableObject` for each one that they cannot read.
So one bad object does not stop the comparison of the others.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec
import stripe
from django.conf import settings

from focus.errors import DomainError
from payments.stripe_client import CardDeclined as CardDeclined
from payments.stripe_client import Missing as Missing
from payments.stripe_client import PaymentsOff as PaymentsOff
from payments.stripe_client import StripeBusy as StripeBusy
from payments.stripe_client import StripeDown as StripeDown
from payments.stripe_client import StripeRefused as StripeRefused
from payments.stripe_client import (
    complete_list,
    create_once,
    list_all,
    request,
    translated_errors,
    v1,
    with_key,
)
from payments.stripe_client import digest as digest
from payments.stripe_objects import (
    CheckoutSession,
    EventNotice,
    Intent,
    Invoice,
    StripeReversal,
    StripeSubscription,
    UnreadableObject,
    card_of,
    id_of,
)

# The oldest signature that we accept: Stripe's own figure.
TOLERANCE_SECONDS = 300
CURRENCY = "usd"
# How many event types Stripe accepts in one list request.
TYPES_AT_ONCE = 20

# What parsing an event raises for wrong types, times, names, and deep nesting.
UNREADABLE = (
    msgspec.DecodeError,
    AttributeError,
    KeyError,
    RecursionError,
    TypeError,
    ValueError,
)

T = TypeVar("T")


class NotFromStripe(DomainError):
    """The request is not signed with one of our secrets, is too old, or is no event."""

    code = "invalid_signature"


class NotAnEvent(NotFromStripe):
    """The signature is right, but the body is no event that we can parse."""


def is_on() -> bool:
    """Whether this server has a key for Stripe."""
    return bool(settings.STRIPE_SECRET_KEY)


def verified_event(*, body: bytes, signature: str) -> EventNotice:
    """Verify the signature over a request's raw body, and parse the event in it.

    Raises `NotFromStripe` (`NotAnEvent` if only the body is bad), and `PaymentsOff` if
    the server has no secret to verify with.
    """
    secrets = settings.STRIPE_WEBHOOK_SECRETS
    if not secrets:
        raise PaymentsOff("This server takes no events from Stripe.")
    try:
        text = body.decode()
    except UnicodeDecodeError as broken:
        raise NotFromStripe("The body is not text.") from broken
    if not any(_signed(text, signature, secret) for secret in secrets):
        raise NotFromStripe("The Stripe-Signature does not fit the body.")
    try:
        return EventNotice.from_stripe(msgspec.json.decode(body))
    except UNREADABLE as broken:
        raise NotAnEvent("The body is not an event.") from broken


def _signed(text: str, signature: str, secret: str) -> bool:
    try:
        stripe.WebhookSignature.verify_header(
            text, signature, secret, TOLERANCE_SECONDS
        )
    # The comparison raises for a header that is not ASCII.
    except (stripe.SignatureVerificationError, ValueError, TypeError):
        return False
    return True


def create_session(*, params: Mapping[str, Any], key: str) -> CheckoutSession:
    """Create a Checkout session. The same key creates it once within 24 hours."""
    return CheckoutSession.from_stripe(
        create_once(v1().checkout.sessions.create, params, key)
    )


def session(*, session_id: str) -> CheckoutSession:
    """Return a Checkout session. Raises `Missing`."""
    sessions = v1().checkout.sessions
    return CheckoutSession.from_stripe(request(lambda: sessions.retrieve(session_id)))


def expire_session(*, session_id: str) -> None:
    """Close an unpaid session. Raises `StripeRefused` if it is no longer open."""
    sessions = v1().checkout.sessions
    request(lambda: sessions.expire(session_id))


def session_paid_by(*, payment_intent: str) -> CheckoutSession | None:
    """Return the Checkout session that a payment intent paid, if there is one."""
    sessions = v1().checkout.sessions
    wanted = {"payment_intent": payment_intent, "limit": 1}
    found = request(lambda: sessions.list(wanted))["data"]
    return CheckoutSession.from_stripe(found[0]) if found else None


def sessions_between(
    since: datetime, until: datetime
) -> Iterator[CheckoutSession | UnreadableObject]:
    """List the Checkout sessions that were created in this time."""
    listed = v1().checkout.sessions.list
    yield from _parsed(
        CheckoutSession.from_stripe, list_all(listed, created=_between(since, until))
    )


def charge(*, params: Mapping[str, Any], key: str) -> Intent:
    """Charge a saved card off-session and return the payment intent.

    A decline returns the intent that it left behind. Raises `CardDeclined` if it left
    none. The charge uses exactly this key: a refusal ends the attempt, and the next
    attempt has a key of its own.
    """
    intents = v1().payment_intents
    try:
        with translated_errors():
            return Intent.from_stripe(
                intents.create(dict(params), with_key(key)).to_dict()
            )
    except CardDeclined as no:
        if (left := _intent_in(no.__cause__)) is None:
            raise
        return intent(intent_id=left)


def _intent_in(error: BaseException | None) -> str | None:
    body: Any = getattr(error, "json_body", None) or {}
    return id_of((body.get("error") or {}).get("payment_intent"))


def intent(*, intent_id: str) -> Intent:
    """Return a payment intent. Raises `Missing`."""
    intents = v1().payment_intents
    return Intent.from_stripe(request(lambda: intents.retrieve(intent_id)))


def intents_of_customer(
    *, customer: str, since: datetime
) -> Iterator[Intent | UnreadableObject]:
    """List a customer's payment intents that were created since then."""
    listed = v1().payment_intents.list
    wanted = {"created": {"gte": int(since.timestamp())}, "customer": customer}
    yield from _parsed(Intent.from_stripe, list_all(listed, **wanted))


def intents_between(
    since: datetime, until: datetime
) -> Iterator[Intent | UnreadableObject]:
    """List the payment intents that were created in this time."""
    listed = v1().payment_intents.list
    yield from _parsed(
        Intent.from_stripe, list_all(listed, created=_between(since, until))
    )


def cancel_intent(*, intent_id: str) -> Intent:
    """Cancel a payment intent, so that it can no longer be paid, and return it.

    Raises `StripeRefused` if it is paid, processing or cancelled already.
    """
    intents = v1().payment_intents
    return Intent.from_stripe(request(lambda: intents.cancel(intent_id)))


def card_label(*, payment_method: str) -> str:
    """Describe a saved card as its holder knows it: `visa ending in 4242`."""
    methods = v1().payment_methods
    return card_of(request(lambda: methods.retrieve(payment_method)))


def detach_card(*, payment_method: str) -> None:
    """Delete a saved card at Stripe. Raises `StripeRefused` if it is not saved."""
    methods = v1().payment_methods
    request(lambda: methods.detach(payment_method))


def create_customer(*, params: Mapping[str, Any], key: str) -> str:
    """Create a customer, once per `key`, and return its id."""
    return str(create_once(v1().customers.create, params, key)["id"])


def customer_exists(*, customer: str) -> bool:
    """Whether Stripe has the customer, and the customer is not deleted."""
    customers = v1().customers
    try:
        return not request(lambda: customers.retrieve(customer)).get("deleted")
    except Missing:
        return False


def create_price(*, params: Mapping[str, Any], key: str) -> str:
    """Create a Price, once per `key`, and return its id."""
    return str(create_once(v1().prices.create, params, key)["id"])


def is_price_active(*, price: str) -> bool:
    """Whether Stripe has the Price, and the Price is active."""
    prices = v1().prices
    try:
        return bool(request(lambda: prices.retrieve(price)).get("active"))
    except Missing:
        return False


def create_portal_session(*, params: Mapping[str, Any]) -> tuple[str, str]:
    """Create a customer portal session. Returns its id and its URL."""
    portal = v1().billing_portal.sessions
    made = request(lambda: portal.create(dict(params)))
    return str(made["id"]), str(made["url"])


def invoice(*, invoice_id: str) -> Invoice:
    """Return an invoice with all of its lines and payments. Raises `Missing`."""
    invoices = v1().invoices
    params: Any = {"expand": ["payments"]}
    return _invoice(request(lambda: invoices.retrieve(invoice_id, params)))


def _invoice(it: Any) -> Invoice:
    lines = v1().invoices.line_items
    paid = v1().invoice_payments
    name = str(it["id"])
    it["lines"] = complete_list(it["lines"], lambda params: lines.list(name, params))
    it["payments"] = complete_list(it.get("payments"), paid.list, invoice=name)
    return Invoice.from_stripe(it)


def open_intents_of_invoice(*, invoice_id: str | None) -> list[Intent]:
    """Return the payment intents that may still pay an invoice."""
    if invoice_id is None:
        return []
    listed = v1().invoice_payments.list
    found = list_all(listed, invoice=invoice_id, status="open")
    names = [id_of((it.get("payment") or {}).get("payment_intent")) for it in found]
    return [intent(intent_id=name) for name in names if name]


def invoice_paid_by(*, payment_intent: str) -> Invoice | None:
    """Return the invoice that a payment intent paid, if there is one."""
    payments = v1().invoice_payments
    by: Any = {"type": "payment_intent", "payment_intent": payment_intent}
    found = request(lambda: payments.list({"payment": by, "limit": 1}))["data"]
    return invoice(invoice_id=id_of(found[0]["invoice"]) or "") if found else None


def invoices_between(
    since: datetime, until: datetime
) -> Iterator[Invoice | UnreadableObject]:
    """List the paid invoices that were created in this time."""
    wanted = {"status": "paid", "expand": ["data.payments"]}
    listed = v1().invoices.list
    created = _between(since, until)
    yield from _parsed(_invoice, list_all(listed, created=created, **wanted))


def subscription(*, subscription_id: str) -> StripeSubscription:
    """Return a subscription with all of its items. Raises `Missing`."""
    subscriptions = v1().subscriptions
    return _subscribed(request(lambda: subscriptions.retrieve(subscription_id)))


def _subscribed(it: Any) -> StripeSubscription:
    items = v1().subscription_items
    it["items"] = complete_list(it["items"], items.list, subscription=it["id"])
    return StripeSubscription.from_stripe(it)


def subscriptions_of(*, customer: str) -> list[StripeSubscription]:
    """Return every subscription of a customer that has not ended."""
    listed = v1().subscriptions.list
    return [_subscribed(it) for it in list_all(listed, customer=customer)]


def set_cancel_at_period_end(*, subscription_id: str, ends: bool) -> StripeSubscription:
    """End a subscription with its paid period (`ends`), or let it renew again."""
    subscriptions = v1().subscriptions
    changed: Any = {"cancel_at_period_end": ends}
    return _subscribed(request(lambda: subscriptions.update(subscription_id, changed)))


def cancel_subscription(*, subscription_id: str) -> None:
    """End a subscription now. Raises `StripeRefused` or `Missing` if it has ended."""
    subscriptions = v1().subscriptions
    request(lambda: subscriptions.cancel(subscription_id))


def reversals(*, payment_intent: str) -> list[StripeReversal]:
    """Return every refund and dispute of a payment, with its status of now."""
    about = {"payment_intent": payment_intent}
    refunds = list_all(v1().refunds.list, **about)
    disputes = list_all(v1().disputes.list, **about)
    return [StripeReversal.from_stripe(it) for it in [*refunds, *disputes]]


def refunded_between(
    since: datetime, until: datetime
) -> Iterator[str | UnreadableObject]:
    """List the payment intent of each refund in this time.

    A refund without a payment intent yields an empty string.
    """
    listed = v1().refunds.list
    yield from _parsed(_intent_of, list_all(listed, created=_between(since, until)))


def disputed_between(
    since: datetime, until: datetime
) -> Iterator[str | UnreadableObject]:
    """As `refunded_between`, for disputes."""
    listed = v1().disputes.list
    yield from _parsed(_intent_of, list_all(listed, created=_between(since, until)))


def _intent_of(it: Any) -> str:
    return id_of(it.get("payment_intent")) or ""


def events_between(
    since: datetime, until: datetime, *, types: list[str]
) -> Iterator[tuple[EventNotice, str] | UnreadableObject]:
    """List events, newest first, each with its JSON. At most `TYPES_AT_ONCE` types."""
    listed = v1().events.list
    events = list_all(listed, created=_between(since, until), types=types)
    yield from _parsed(
        lambda it: (EventNotice.from_stripe(it), msgspec.json.encode(it).decode()),
        events,
    )


def _between(since: datetime, until: datetime) -> dict[str, int]:
    return {"gte": int(since.timestamp()), "lt": int(until.timestamp())}


def _parsed(
    of: Callable[[Any], T], found: Iterator[Any]
) -> Iterator[T | UnreadableObject]:
    for it in found:
        try:
            fact: T | UnreadableObject = of(it)
        except PaymentsOff:
            raise
        # One malformed object must not hide the others of the list.
        except Exception as broken:
            name = str(it.get("id") or "") if isinstance(it, dict) else ""
            fact = UnreadableObject(name[:255], f"{type(broken).__name__}: {broken}")
        yield fact
