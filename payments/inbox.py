"""Stripe's events: stored first, handled a moment later, each until it is done.

Whoever handles an event asks Stripe how its object stands now; the event only says
what to look at. So order, repetition and lateness do not matter, and a worker that dies
leaves a row that another takes up.

Events take turns by lane, so no kind keeps another waiting: what says that a payment is
new goes first, the newest and the oldest in turn; a retry gets one turn in three.
"""

import hashlib
import itertools
import logging
import random
import re
import time
from collections.abc import Callable
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from focus.errors import DomainError
from payments import gateway, packs, refunds
from payments.models import StripeEvent
from payments.plans import invoices, subscriptions
from payments.stripe_objects import EventNotice

log = logging.getLogger(__name__)

Lane = StripeEvent.Lane
# The lane of each turn, and which of its events: the newest, or the one due longest.
TURNS = (
    (Lane.PAYMENT, "-due_at"),
    (Lane.OTHER, "-due_at"),
    (Lane.PAYMENT_AGAIN, "due_at"),
    (Lane.PAYMENT, "due_at"),
    (Lane.OTHER, "due_at"),
    (Lane.OTHER_AGAIN, "due_at"),
)
# Goes on from run to run, so a run that Stripe cuts short costs no lane its turn.
_turns = itertools.count()
# What credits follow from.
PAYMENT_TYPES = {
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "payment_intent.succeeded",
    "invoice.paid",
    "invoice.payment_succeeded",
}
# How long one run goes on; the next is rung for two seconds later.
RUN_SECONDS = 20
REFUSED_BODY = 20_000
# Longer than handling takes at worst: until then nobody else has the event.
LEASE = timedelta(seconds=60)
FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(hours=6)
# With the waits above: about four days.
TRIES = 30
BODY_KEPT = timedelta(days=90)
# Who has it may go on with a payment; nobody here needs it.
_SECRET = re.compile(r'("client_secret"\s*:\s*)"[^"]*"')


def receive(*, body: bytes, signature: str) -> bool:
    """Store a signed event; false if it was stored before. Raises
    `gateway.NotFromStripe` or `gateway.PaymentsOff`.

    What is signed and cannot be read is stored as refused, for staff.
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
        # By its bytes: the id that it claims stays free for the real event.
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
    _, new = StripeEvent.objects.get_or_create(
        stripe_id=event.id,
        defaults={
            "type": event.type[:120],
            "object_id": event.object_id,
            "payment_intent_id": event.payment_intent or "",
            "body": _SECRET.sub(r'\1"***"', body.replace("\x00", "")),
            "livemode": event.livemode,
            "happened_at": event.happened_at,
            "due_at": timezone.now(),
            "lane": _lane(event.type),
        },
    )
    return new


def _lane(kind: str) -> StripeEvent.Lane:
    return Lane.PAYMENT if kind in PAYMENT_TYPES else Lane.OTHER


def handle_due(*, limit: int = 200, seconds: float = RUN_SECONDS) -> int:
    """Handle what is due, one at a time, until time is up or Stripe does not answer.
    Returns how many were done.
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
            # Each of the others would wait for its timeouts too.
            break
        if time.monotonic() > ends:
            break
    return done


def handle_again(*, event_id: int) -> None:
    """Have an event handled once more, whatever came of it: facts count once."""
    for row in StripeEvent.objects.filter(pk=event_id).exclude(
        state=StripeEvent.State.REFUSED
    ):
        StripeEvent.objects.filter(pk=row.pk).update(
            state=StripeEvent.State.PENDING,
            due_at=timezone.now(),
            tries=0,
            lane=_lane(row.type),
        )


@transaction.atomic
def _claim(turn: int) -> StripeEvent | None:
    now = timezone.now()
    own = TURNS[turn % len(TURNS)]
    # Where this turn's lane is empty, the others take it, the first of them first.
    for lane, order in (own, *sorted(TURNS)):
        due = StripeEvent.objects.filter(lane=lane, due_at__lte=now)
        waiting = due.select_for_update(no_key=True, skip_locked=True)
        row = waiting.order_by(order, "pk").first()
        if row is not None:
            break
    if row is not None:
        row.tries += 1
        row.due_at = now + LEASE
        row.save(update_fields=["tries", "due_at"])
    return row


def _handle(row: StripeEvent) -> bool:
    try:
        outcome = apply(row)
    # Whatever it is, it must neither stop the other events nor be lost.
    except Exception as failure:
        _put_off(row, failure)
        if isinstance(failure, gateway.StripeDown):
            raise
        return False
    state = StripeEvent.State.IGNORED if outcome is None else StripeEvent.State.DONE
    _finish(row, state, outcome or "nothing to do")
    return True


def _put_off(row: StripeEvent, failure: Exception) -> None:
    now = timezone.now()
    final = row.tries >= TRIES
    if isinstance(failure, DomainError):
        say = log.error if final else log.warning
        say("event %s, try %s: %s", row.stripe_id, row.tries, failure.message)
    else:
        log.exception("event %s, try %s", row.stripe_id, row.tries)
    words = f"{type(failure).__name__}: {failure}"
    if final:
        _finish(row, StripeEvent.State.FAILED, words)
        return
    wait = min(FIRST_WAIT * 2 ** (row.tries - 1), LONGEST_WAIT)
    # Spread, so that what came at once does not come again at once.
    wait *= random.uniform(1, 1.5)  # noqa: S311 — no secret
    again = Lane.PAYMENT_AGAIN if row.type in PAYMENT_TYPES else Lane.OTHER_AGAIN
    StripeEvent.objects.filter(pk=row.pk).update(
        due_at=now + wait, outcome=words[:400], lane=again
    )


def _finish(row: StripeEvent, state: str, outcome: str) -> None:
    StripeEvent.objects.filter(pk=row.pk).update(
        state=state, due_at=None, outcome=outcome[:400], handled_at=timezone.now()
    )


def apply(row: StripeEvent) -> str | None:
    """Do what an event asks for; None where that is nothing."""
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
    return sorted(HANDLERS)


def forget_bodies() -> int:
    """Drop the text of events that are long done: it names people."""
    old = Q(received_at__lt=timezone.now() - BODY_KEPT) & ~Q(body="")
    done = Q(due_at__isnull=True)
    return StripeEvent.objects.filter(old & done).update(body="")
