"""The inbox of Stripe's events: store an event first, handle it a moment later.

A handler reads the present state of the event's object from the Stripe API; the event
only names the object. So the order of events, repeated events and late events do not
matter. Events are a row queue (`focus.due`): another worker takes up the event of a
worker that died.

Events take turns by lane, so no kind of event delays another. New payments and other
new events have two turns of six each, the newest and the oldest in turn. Retries have
one turn of three.
"""

import hashlib
import itertools
import logging
import re
import time
from collections.abc import Callable
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from focus import due
from focus.errors import DomainError
from payments import gateway, packs, refunds
from payments.models import StripeEvent
from payments.plans import invoices, subscriptions
from payments.stripe_objects import EventNotice

log = logging.getLogger(__name__)

Lane = StripeEvent.Lane
# The lane of each turn, and its first event: the newest, or the one due longest.
TURNS = (
    (Lane.PAYMENT, "-due_at"),
    (Lane.OTHER, "-due_at"),
    (Lane.PAYMENT_AGAIN, "due_at"),
    (Lane.PAYMENT, "due_at"),
    (Lane.OTHER, "due_at"),
    (Lane.OTHER_AGAIN, "due_at"),
)
# Counts across runs, so that a run that Stripe cuts short costs no lane its turn.
_turns = itertools.count()
# Events that credits follow from.
PAYMENT_TYPES = {
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "payment_intent.succeeded",
    "invoice.paid",
    "invoice.payment_succeeded",
}
# How long one run goes on. Beat starts the next one two seconds later.
RUN_SECONDS = 20
REFUSED_BODY = 20_000
# With the back-off below: about four days.
TRIES = 30
QUEUE = due.Queue(
    StripeEvent.objects.all(),
    task="payments.handle_events",
    # Longer than handling an event takes at worst.
    lease=timedelta(seconds=60),
    # Spread, so that events that failed together do not return together.
    backoff=due.Backoff(
        first=timedelta(seconds=5), longest=timedelta(hours=6), spread=0.5
    ),
    most_tries=TRIES,
    is_on=gateway.is_on,
)
BODY_KEPT = timedelta(days=90)
# A client_secret lets its holder complete the payment, and no code here needs it.
_SECRET = re.compile(r'("client_secret"\s*:\s*)"[^"]*"')


def receive(*, body: bytes, signature: str) -> bool:
    """Store a signed event. Returns whether it is new.

    A signed body that is no readable event is stored as refused, for staff. Raises
    `gateway.NotAnEvent` then, and `gateway.NotFromStripe` or `gateway.PaymentsOff`.
    """
    try:
        event = gateway.verified_event(body=body, signature=signature)
    except gateway.NotAnEvent as junk:
        _store_refused(body, junk)
        raise
    return store(event, body.decode())


def _store_refused(body: bytes, junk: gateway.NotAnEvent) -> None:
    now = timezone.now()
    text = body.decode()[:REFUSED_BODY].replace("\x00", "")
    why = type(junk.__cause__).__name__
    log.error("signed by Stripe, and not an event: %s", why)
    StripeEvent.objects.get_or_create(
        # Keyed by the bytes: the id in the body stays free for the real event.
        stripe_id=f"refused:{hashlib.sha256(body).hexdigest()}",
        defaults={
            "type": "unreadable",
            "body": _SECRET.sub(r'\1"***"', text),
            "livemode": False,
            "happened_at": now,
            "state": StripeEvent.State.REFUSED,
            "outcome": f"not an event that we can read: {why}",
            "handled_at": now,
        },
    )


def store(event: EventNotice, body: str) -> bool:
    """Store an event that is due now. Returns whether it is new."""
    _, new = StripeEvent.objects.get_or_create(
        stripe_id=event.id,
        defaults={
            "type": event.type[:120],
            "object_id": event.object_id,
            "payment_intent_id": event.payment_intent or "",
            "body": _SECRET.sub(r'\1"***"', body.replace("\x00", "")),
            "livemode": event.livemode,
            "happened_at": event.happened_at,
            "due_at": due.NOW,
            "lane": _lane(event.type),
        },
    )
    return new


def _lane(event_type: str) -> StripeEvent.Lane:
    return Lane.PAYMENT if event_type in PAYMENT_TYPES else Lane.OTHER


def handle_due(*, limit: int = 200, seconds: float = RUN_SECONDS) -> int:
    """Handle due events one at a time. Returns how many are done.

    Ends after `limit` events, after `seconds`, or when Stripe does not answer.
    """
    done = 0
    ends = time.monotonic() + seconds
    for _ in range(limit):
        row = _claim(next(_turns))
        if row is None:
            break
        try:
            done += _handle(row)
        except gateway.StripeDown:
            # Every other event would run into the same timeouts.
            break
        if time.monotonic() > ends:
            break
    return done


def handle_again(*, event_id: int) -> None:
    """Make an event due as if it were new, unless it was refused.

    Safe for a handled event: the rules count each payment once. A worker that is busy
    with the event loses it.
    """
    for row in StripeEvent.objects.filter(pk=event_id).exclude(
        state=StripeEvent.State.REFUSED
    ):
        QUEUE.restart(
            StripeEvent.objects.filter(pk=row.pk),
            state=StripeEvent.State.PENDING,
            lane=_lane(row.type),
        )


@transaction.atomic
def _claim(turn: int) -> StripeEvent | None:
    own = TURNS[turn % len(TURNS)]
    # Where this turn's lane is empty, the other lanes follow in their order.
    for lane, order in (own, *sorted(TURNS)):
        in_lane = StripeEvent.objects.filter(lane=lane)
        row = QUEUE.claim(in_lane, order=(order, "pk"))
        if row is not None:
            return row
    return None


def _handle(row: StripeEvent) -> bool:
    """Whether the event is done, by this worker."""
    if QUEUE.is_spent(row):
        log.error("event %s: a worker died in each of %s tries", row.stripe_id, TRIES)
        _finish(row, StripeEvent.State.FAILED, "a worker died in every try")
        return False
    try:
        outcome = apply(row)
    # No error may lose the event or stop the other events.
    except Exception as failure:
        _back_off(row, failure)
        if isinstance(failure, gateway.StripeDown):
            raise
        return False
    state = StripeEvent.State.IGNORED if outcome is None else StripeEvent.State.DONE
    return _finish(row, state, outcome or "nothing to do")


def _back_off(row: StripeEvent, failure: Exception) -> None:
    """Have the event tried again later, or give it up after its last try."""
    final = QUEUE.is_last(row)
    if isinstance(failure, DomainError):
        say = log.error if final else log.warning
        say("event %s, try %s: %s", row.stripe_id, row.tries, failure.message)
    else:
        log.exception("event %s, try %s", row.stripe_id, row.tries)
    reason = f"{type(failure).__name__}: {failure}"
    if final:
        _finish(row, StripeEvent.State.FAILED, reason)
        return
    lane = Lane.PAYMENT_AGAIN if row.type in PAYMENT_TYPES else Lane.OTHER_AGAIN
    QUEUE.retry(row, outcome=reason[:400], lane=lane)


def _finish(row: StripeEvent, state: str, outcome: str) -> bool:
    return QUEUE.finish(
        row, state=state, outcome=outcome[:400], handled_at=timezone.now()
    )


def apply(row: StripeEvent) -> str | None:
    """Run the handler of an event's type. Returns its outcome, or None without one.

    Asks Stripe, so no transaction may be open. Raises what the handler raises.
    """
    handler = HANDLERS.get(row.type)
    if handler is None:
        return None
    return handler(row)


def _session(row: StripeEvent) -> str:
    session = gateway.session(session_id=row.object_id)
    if session.made_for == subscriptions.PLAN:
        return subscriptions.record_checkout(session=session)
    return packs.record(session=session)


def _session_failed(row: StripeEvent) -> str:
    return packs.record_failed(session=gateway.session(session_id=row.object_id))


def _intent(row: StripeEvent) -> str:
    payment = refunds.payment_of(payment_intent=row.payment_intent_id)
    return "credited" if payment else "nothing of ours is paid by it yet"


def _reversal(row: StripeEvent) -> str:
    if not row.payment_intent_id:
        return "not a payment of ours"
    return refunds.apply_reversals(payment_intent=row.payment_intent_id)


def _invoice(row: StripeEvent) -> str:
    return invoices.record(invoice=gateway.invoice(invoice_id=row.object_id))


def _subscription(row: StripeEvent) -> str:
    return subscriptions.sync(subscription_id=row.object_id)


HANDLERS: dict[str, Callable[[StripeEvent], str]] = {
    "checkout.session.completed": _session,
    "checkout.session.async_payment_succeeded": _session,
    "checkout.session.async_payment_failed": _session_failed,
    "checkout.session.expired": _session,
    "payment_intent.succeeded": _intent,
    "charge.refunded": _reversal,
    "charge.refund.updated": _reversal,
    "refund.created": _reversal,
    "refund.updated": _reversal,
    "refund.failed": _reversal,
    "charge.dispute.created": _reversal,
    "charge.dispute.updated": _reversal,
    "charge.dispute.closed": _reversal,
    "charge.dispute.funds_withdrawn": _reversal,
    "charge.dispute.funds_reinstated": _reversal,
    "invoice.paid": _invoice,
    "invoice.payment_succeeded": _invoice,
    "invoice.payment_failed": _invoice,
    "invoice.voided": _invoice,
    "invoice.marked_uncollectible": _invoice,
    "customer.subscription.created": _subscription,
    "customer.subscription.updated": _subscription,
    "customer.subscription.deleted": _subscription,
    "customer.subscription.paused": _subscription,
    "customer.subscription.resumed": _subscription,
}


def known_types() -> list[str]:
    """Return the event types that Stripe must send here."""
    return sorted(HANDLERS)


def forget_bodies() -> int:
    """Erase the bodies of old events that are done. Returns how many.

    A body holds personal data, so it stays for `BODY_KEPT` only.
    """
    old = Q(received_at__lt=timezone.now() - BODY_KEPT) & ~Q(body="")
    done = Q(due_at__isnull=True)
    return StripeEvent.objects.filter(old & done).update(body="")
