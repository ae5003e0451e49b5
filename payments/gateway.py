"""The only file that talks to Stripe.

Answers are `payments.facts`; refusals are domain errors. A call takes seconds at worst
and must never be made while a transaction is open. What changes something in Stripe
takes an idempotency key of ours, so that asking again after a crash does it once.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
import stripe
from django.conf import settings

from focus import final_answers
from focus.errors import DomainError
from payments.facts import (
    Event,
    Intent,
    Invoice,
    Reversed,
    Session,
    Subscribed,
    card_of,
    id_of,
)

log = logging.getLogger(__name__)

# What our reading of Stripe's objects was written for. Raise it with the SDK.
API_VERSION = "2026-10-28.endive"
TIMEOUT = (3, 5)
RETRIES = 2
# How old a signature may be: Stripe's own figure.
TOLERANCE_SECONDS = 300
CURRENCY = "usd"
PAGE = 100


class PaymentsOff(DomainError):
    """This server has no key for Stripe."""

    code = "service_unavailable"
    retry_after_seconds = 3600


class StripeDown(DomainError):
    """Stripe did not answer, or asks us to slow down."""

    code = "service_unavailable"
    retry_after_seconds = 5


class StripeBusy(DomainError):
    """The same request is being worked on at Stripe."""

    code = "request_in_flight"
    retry_after_seconds = 1


class StripeRefused(DomainError):
    """Stripe will not do this; asking again changes nothing."""

    code = "payment_refused"


class Declined(StripeRefused):
    """The bank said no."""

    code = "payment_declined"


class Missing(DomainError):
    """Stripe has no such object under our key."""

    code = "not_found"


class NotFromStripe(DomainError):
    """Not signed with any of our secrets, too old, or not an event."""

    code = "invalid_signature"


def event(*, body: bytes, signature: str) -> Event:
    """What a request's raw body says, if Stripe signed it. Raises `NotFromStripe`,
    and `PaymentsOff` where there is no secret to check it with.
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
        return Event.of(msgspec.json.decode(body))
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as broken:
        raise NotFromStripe("The body is not an event.") from broken


def _signed(text: str, signature: str, secret: str) -> bool:
    try:
        stripe.WebhookSignature.verify_header(
            text, signature, secret, TOLERANCE_SECONDS
        )
    except (stripe.SignatureVerificationError, ValueError):
        return False
    return True


def open_session(*, params: Mapping[str, Any], key: str) -> Session:
    """Make a Checkout session. The same key makes it once, for a day."""
    sessions = _client().v1.checkout.sessions
    return Session.of(_ask(lambda: sessions.create(_fresh(params), _once(key))))


def session(*, session_id: str) -> Session:
    sessions = _client().v1.checkout.sessions
    return Session.of(_ask(lambda: sessions.retrieve(session_id)))


def expire_session(*, session_id: str) -> None:
    """Close a session that nobody has paid. Raises `StripeRefused` where it is not
    open any more.
    """
    sessions = _client().v1.checkout.sessions
    _ask(lambda: sessions.expire(session_id))


def session_paid_by(*, payment_intent: str) -> Session | None:
    sessions = _client().v1.checkout.sessions
    found = _ask(lambda: sessions.list({"payment_intent": payment_intent, "limit": 1}))[
        "data"
    ]
    return Session.of(found[0]) if found else None


def sessions_since(since: datetime) -> Iterator[Session]:
    sessions = _client().v1.checkout.sessions
    yield from map(Session.of, _all(sessions.list, created=_from(since)))


def charge(*, params: Mapping[str, Any], key: str) -> Intent:
    """Charge a saved card while nobody is there. A bank's no is an answer, with the
    intent that it left. Raises `Declined` where it left none.
    """
    intents = _client().v1.payment_intents
    try:
        with _our_words():
            return Intent.of(intents.create(_fresh(params), _once(key)).to_dict())
    except Declined as no:
        if (left := _intent_in(no.__cause__)) is None:
            raise
        return intent(intent_id=left)


def _intent_in(error: BaseException | None) -> str | None:
    body: Any = getattr(error, "json_body", None) or {}
    return id_of((body.get("error") or {}).get("payment_intent"))


def intent(*, intent_id: str) -> Intent:
    intents = _client().v1.payment_intents
    return Intent.of(_ask(lambda: intents.retrieve(intent_id)))


def intents_since(since: datetime, *, customer: str | None = None) -> Iterator[Intent]:
    intents = _client().v1.payment_intents
    whose = {"customer": customer} if customer else {}
    yield from map(Intent.of, _all(intents.list, created=_from(since), **whose))


def cancel_intent(*, intent_id: str) -> Intent:
    """See to it that nobody pays it any more; how it stands then. Raises
    `StripeRefused` where it is paid, under way or cancelled already.
    """
    intents = _client().v1.payment_intents
    return Intent.of(_ask(lambda: intents.cancel(intent_id)))


def card(*, payment_method: str) -> str:
    """A saved card, as its holder knows it."""
    methods = _client().v1.payment_methods
    return card_of(_ask(lambda: methods.retrieve(payment_method)))


def forget_card(*, payment_method: str) -> None:
    """Stripe keeps it no more. Raises `StripeRefused` where it keeps none."""
    methods = _client().v1.payment_methods
    _ask(lambda: methods.detach(payment_method))


def make_customer(*, params: Mapping[str, Any], key: str) -> str:
    customers = _client().v1.customers
    made = _ask(lambda: customers.create(_fresh(params), _once(key)))
    return str(made["id"])


def make_price(*, params: Mapping[str, Any], key: str) -> str:
    prices = _client().v1.prices
    return str(_ask(lambda: prices.create(_fresh(params), _once(key)))["id"])


def open_portal(*, params: Mapping[str, Any]) -> tuple[str, str]:
    """A customer portal session: its id and its address."""
    portal = _client().v1.billing_portal.sessions
    made = _ask(lambda: portal.create(_fresh(params)))
    return str(made["id"]), str(made["url"])


def invoice(*, invoice_id: str) -> Invoice:
    invoices = _client().v1.invoices
    params: Any = {"expand": ["payments"]}
    return Invoice.of(_ask(lambda: invoices.retrieve(invoice_id, params)))


def invoice_paid_by(*, payment_intent: str) -> Invoice | None:
    payments = _client().v1.invoice_payments
    by: Any = {"type": "payment_intent", "payment_intent": payment_intent}
    found = _ask(lambda: payments.list({"payment": by, "limit": 1}))["data"]
    return invoice(invoice_id=id_of(found[0]["invoice"]) or "") if found else None


def invoices_since(since: datetime) -> Iterator[Invoice]:
    """Those that are paid."""
    invoices = _client().v1.invoices
    params = {"created": _from(since), "status": "paid", "expand": ["data.payments"]}
    yield from map(Invoice.of, _all(invoices.list, **params))


def subscription(*, subscription_id: str) -> Subscribed:
    subscriptions = _client().v1.subscriptions
    return Subscribed.of(_ask(lambda: subscriptions.retrieve(subscription_id)))


def subscriptions_of(*, customer: str) -> list[Subscribed]:
    """Every one that has not ended."""
    subscriptions = _client().v1.subscriptions
    return [Subscribed.of(it) for it in _all(subscriptions.list, customer=customer)]


def end_at_period_end(*, subscription_id: str, ends: bool) -> Subscribed:
    """Let it run out at the end of what is paid, or go on after all."""
    subscriptions = _client().v1.subscriptions
    changed: Any = {"cancel_at_period_end": ends}
    return Subscribed.of(_ask(lambda: subscriptions.update(subscription_id, changed)))


def reversals(*, payment_intent: str) -> list[Reversed]:
    """Every refund and dispute of a payment, as they stand."""
    about = {"payment_intent": payment_intent}
    v1 = _client().v1
    refunds = _all(v1.refunds.list, **about)
    disputes = _all(v1.disputes.list, **about)
    return [Reversed.of(it) for it in [*refunds, *disputes]]


def reversed_since(since: datetime) -> set[str]:
    """The payment intents of which something was refunded or disputed."""
    v1 = _client().v1
    intents = {
        id_of(it.get("payment_intent"))
        for listed in (v1.refunds.list, v1.disputes.list)
        for it in _all(listed, created=_from(since))
    }
    return {intent for intent in intents if intent}


def events_since(since: datetime, *, types: list[str]) -> Iterator[tuple[Event, str]]:
    """What Stripe has told or tried to tell, oldest first, each with its JSON."""
    events = _client().v1.events
    asked = {"created": _from(since), "types": types}
    for it in reversed(list(_all(events.list, **asked))):
        yield Event.of(it), msgspec.json.encode(it).decode()


@cache
def _client_for(key: str, base: str) -> stripe.StripeClient:
    return stripe.StripeClient(
        key,
        stripe_version=API_VERSION,
        base_addresses={"api": base},
        max_network_retries=RETRIES,
        http_client=stripe.RequestsClient(
            timeout=TIMEOUT, session=final_answers.session()
        ),
    )


def _client() -> stripe.StripeClient:
    if not settings.STRIPE_SECRET_KEY:
        raise PaymentsOff("Payments are not set up on this server.")
    return _client_for(settings.STRIPE_SECRET_KEY, settings.STRIPE_API_BASE)


def _once(key: str) -> Any:
    return {"idempotency_key": key}


def _fresh(params: Mapping[str, Any]) -> Any:
    # The SDK takes its own TypedDicts.
    return dict(params)


def _from(since: datetime) -> dict[str, int]:
    return {"gte": int(since.timestamp())}


def _all(listed: Callable[..., Any], **params: Any) -> Iterator[Any]:
    """Every object of a list, page by page."""
    page = _ask(lambda: listed({**params, "limit": PAGE}))
    while True:
        yield from page["data"]
        if not page["has_more"] or not page["data"]:
            return
        after = page["data"][-1]["id"]
        page = _ask(lambda: listed({**params, "limit": PAGE, "starting_after": after}))  # noqa: B023 — asked at once


def _ask(call: Callable[[], stripe.StripeObject]) -> dict[str, Any]:
    with _our_words():
        return call().to_dict()


@contextmanager
def _our_words() -> Iterator[None]:
    """Turn what the SDK raises into refusals. Its messages may name people: they go
    into the log of the server and not to the caller.
    """
    try:
        yield
    except stripe.CardError as no:
        raise Declined("The payment was declined.", reason=no.code or "") from no
    except stripe.IdempotencyError as used:
        raise StripeRefused("This was asked of Stripe differently before.") from used
    except stripe.InvalidRequestError as wrong:
        if wrong.http_status == 404 or wrong.code == "resource_missing":
            raise Missing("Stripe has no such object.") from wrong
        log.error("Stripe refused: %s (%s)", wrong.user_message, wrong.request_id)
        raise StripeRefused("The payment service refused this.") from wrong
    except (stripe.AuthenticationError, stripe.PermissionError) as refused:
        log.error("Stripe does not take our key: %s", refused.user_message)
        raise StripeDown("Payments are not available right now.") from refused
    except stripe.StripeError as failed:
        if failed.http_status == 409:
            raise StripeBusy("The same payment is just being set up.") from failed
        log.warning("Stripe failed: %s", type(failed).__name__)
        raise StripeDown("The payment service does not answer right now.") from failed
