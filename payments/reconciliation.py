"""Reconciliation: compare our books with Stripe's, both ways.

What was missed is credited or taken back. What cannot be repaired is listed for staff.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

from django.db.models import Count, Min, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from focus.errors import DomainError
from payments import drifts, gateway, inbox, packs, refunds
from payments.models import Drift, Payment, Subscription
from payments.plans import invoices, subscriptions
from payments.stripe_objects import Invoice, UnknownStatus, UnreadableObject
from payments.topups import outcomes as topup_outcomes

log = logging.getLogger(__name__)

Kind = Drift.Kind
# Stripe keeps events for 30 days.
LONGEST = timedelta(days=29)
# After this many unanswered requests in a row the run ends; the next one continues.
MOST_UNANSWERED = 3
# Compared at any age, because every live subscription is read each time.
ALWAYS_LOOKED_AT = (Kind.SUBSCRIPTION, Kind.TWO_SUBSCRIPTIONS)


T = TypeVar("T")


class Differs(DomainError):
    """Stripe says one thing and our books another."""

    code = "differs"


@dataclass
class Report:
    """How many objects were compared, and which were repaired or still differ."""

    since: datetime
    until: datetime
    looked_at: int = 0
    healed: list[str] = field(default_factory=list)
    drifts: list[Drift] = field(default_factory=list)
    # Kind and subject of what agrees, or was repaired.
    agrees: set[tuple[str, str]] = field(default_factory=set)
    # The cents that were paid by Stripe's lists, by our payment's Stripe id.
    paid_cents: dict[str, int] = field(default_factory=dict)
    # How many requests in a row Stripe has not answered.
    unanswered: int = 0


def reconcile(*, days: int = 3) -> Report:
    """Compare the last `days`, and the time since the oldest open difference.

    An object that Stripe refuses or that cannot be parsed is listed; the others are
    still compared. Concurrent runs do no harm. Raises `gateway.PaymentsOff`, and
    `gateway.StripeDown` if Stripe does not respond at all.
    """
    now = timezone.now()
    report = Report(_since(now, days), now + timedelta(seconds=1))
    for step in (_events, *STEPS):
        with _guarded(report, Kind.UNREAD, f"step {step.__name__.strip('_')}"):
            step(report)
    _close(report)
    return report


@contextmanager
def _guarded(report: Report, kind: Kind, subject: str) -> Iterator[None]:
    """List any error of the block for staff, and continue after it.

    Only two errors end the comparison: no Stripe key, and a Stripe that never responds.
    """
    try:
        yield
    except gateway.PaymentsOff:
        raise
    except gateway.StripeDown as down:
        report.unanswered += 1
        if report.unanswered >= MOST_UNANSWERED:
            raise
        _report_drift(report, kind, subject, down.message)
    except (DomainError, UnknownStatus) as differs:
        report.unanswered = 0
        _report_drift(report, kind, subject, str(differs))
    except Exception as failure:
        log.exception("reconciling %s", subject)
        _report_drift(report, kind, subject, f"{type(failure).__name__}: {failure}")
    else:
        report.unanswered = 0
        report.agrees.add((kind, subject))


def _listed_by_day(
    report: Report,
    what: str,
    listed: Callable[[datetime, datetime], Iterator[T | UnreadableObject]],
) -> Iterator[T]:
    """Yield what Stripe lists, one day at a time.

    A refused page skips the rest of its day, and an object that cannot be parsed skips
    itself. Both are listed for staff.
    """
    since = report.since
    while since < report.until:
        until = min(_midnight_after(since), report.until)
        found = listed(since, until)
        with _guarded(report, Kind.UNREAD, f"{what} of {since:%Y-%m-%d}"):
            yield from _readable(report, what, found)
        since = until


def _readable(
    report: Report, what: str, found: Iterator[T | UnreadableObject]
) -> Iterator[T]:
    for it in found:
        if isinstance(it, UnreadableObject):
            _report_drift(report, Kind.UNREAD, it.id or f"one of the {what}", it.why)
        else:
            yield it


def _midnight_after(at: datetime) -> datetime:
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day + timedelta(days=1)


def _events(report: Report) -> None:
    """Store events that never arrived, and handle what is due."""
    types = inbox.known_types()
    for first in range(0, len(types), gateway.TYPES_AT_ONCE):
        some = types[first : first + gateway.TYPES_AT_ONCE]
        listed = partial(gateway.events_between, types=some)
        for event, body in _listed_by_day(report, f"events from {some[0]} on", listed):
            if inbox.store(event, body):
                report.healed.append(f"{event.id} {event.type}")
    inbox.handle_due()


def _close(report: Report) -> None:
    """Close the differences that agree now.

    Differences that are too old to be compared stay open.
    """
    listed = {drift.pk for drift in report.drifts}
    healed = [
        drift.pk
        for drift in Drift.objects.filter(healed_at=None).exclude(pk__in=listed)
        if drift.kind in ALWAYS_LOOKED_AT
        or (drift.kind, drift.subject) in report.agrees
    ]
    Drift.objects.filter(pk__in=healed).update(healed_at=Now())


def _since(now: datetime, days: int) -> datetime:
    since = now - timedelta(days=days)
    oldest = Drift.objects.filter(healed_at=None).aggregate(at=Min("first_seen_at"))
    if oldest["at"]:
        since = min(since, oldest["at"] - timedelta(days=days))
    return max(since, now - LONGEST)


def _sessions(report: Report) -> None:
    """Credit packs that are paid in Stripe and not credited here."""
    for session in _listed_by_day(
        report, "checkout sessions", gateway.sessions_between
    ):
        if session.made_for != packs.PACK or not session.paid:
            continue
        report.paid_cents[session.id] = session.total_cents
        _examine_credit(
            report,
            session.id,
            Payment.objects.filter(stripe_session_id=session.id),
            partial(packs.record, session=session),
        )


def _invoices(report: Report) -> None:
    """Credit invoices that are paid in Stripe and not credited here."""
    for invoice in _listed_by_day(report, "invoices", gateway.invoices_between):
        if not invoices.is_ours(invoice=invoice):
            continue
        if not invoices.credits_of(invoice).credits_micro:
            _examine(report, Kind.NO_CREDITS, invoice.id, partial(_no_credits, invoice))
            continue
        report.paid_cents[invoice.id] = invoice.paid_cents
        _examine_credit(
            report,
            invoice.id,
            Payment.objects.filter(stripe_invoice_id=invoice.id),
            partial(invoices.record, invoice=invoice),
        )


def _examine_credit(
    report: Report,
    subject: str,
    payments: QuerySet[Payment],
    record: Callable[[], str],
) -> None:
    """Compare something that Stripe says is paid with our `payments` of it."""
    _examine(
        report, Kind.NOT_CREDITED, subject, partial(_credit_missing, payments, record)
    )


def _credit_missing(payments: QuerySet[Payment], record: Callable[[], str]) -> bool:
    """Call `record` if `payments` is empty. Returns whether it was.

    Raises `Differs` with the words of `record` if that wrote no payment.
    """
    if payments.exists():
        return False
    outcome = record()
    if not payments.exists():
        raise Differs(outcome)
    return True


def _no_credits(invoice: Invoice) -> bool:
    """Raise `Differs` for a paid invoice that brought no credits, so staff see it."""
    known = Payment.objects.filter(stripe_invoice_id=invoice.id)
    if invoice.paid_cents and not known.exists():
        raise Differs(invoices.about(invoice))
    return False


def _top_ups(report: Report) -> None:
    """Credit automatic top-ups that are paid in Stripe and not credited here."""
    for intent in _listed_by_day(report, "payments", gateway.intents_between):
        if intent.made_for != topup_outcomes.TOP_UP or intent.status != "succeeded":
            continue
        report.paid_cents[intent.id] = intent.received_cents
        _examine_credit(
            report,
            intent.id,
            Payment.objects.filter(stripe_payment_intent_id=intent.id),
            partial(topup_outcomes.record, intent=intent),
        )


def _reversals(report: Report) -> None:
    """Take back the credits of money that was refunded or disputed in Stripe."""
    intents = {
        intent
        for what, listed in (
            ("refunds", gateway.refunded_between),
            ("disputes", gateway.disputed_between),
        )
        for intent in _listed_by_day(report, what, listed)
        if intent
    }
    for intent in sorted(intents):

        def take_back(intent: str = intent) -> bool:
            stands = gateway.reversals(payment_intent=intent)
            payment = refunds.payment_of(payment_intent=intent)
            if payment is None or refunds.matches_stripe(
                payment=payment, stands=stands
            ):
                return False
            refunds.apply_reversals(payment_intent=intent)
            return True

        _examine(report, Kind.REVERSAL, intent, take_back)


def _payments(report: Report) -> None:
    """List payments that are credited here and not paid, or not fully, in Stripe."""
    for payment in Payment.objects.filter(paid_at__gte=report.since).iterator():
        subject = payment.stripe_subject

        def compare_amount(payment: Payment = payment, subject: str = subject) -> bool:
            there = report.paid_cents.get(subject)
            if there is None:
                there = _paid_cents(payment)
            if there != payment.amount_cents:
                raise Differs(f"{there} cents in Stripe, {payment.amount_cents} here")
            return False

        _examine(report, Kind.NOT_PAID, subject, compare_amount)


def _paid_cents(payment: Payment) -> int:
    if payment.stripe_session_id:
        session = gateway.session(session_id=payment.stripe_session_id)
        return session.total_cents if session.paid else 0
    if payment.top_up_id:
        return gateway.intent(intent_id=payment.stripe_subject).received_cents
    invoice = gateway.invoice(invoice_id=str(payment.stripe_invoice_id))
    return invoice.paid_cents if invoice.status == "paid" else 0


def _subscriptions(report: Report) -> None:
    """Read each live subscription again, and list accounts that have two."""
    looked_at = (*Subscription.LIVE, Subscription.GONE)
    for row in Subscription.objects.filter(status__in=looked_at).iterator():

        def read_again(row: Subscription = row) -> bool:
            before = _standing(row)
            subscriptions.sync(subscription_id=row.stripe_subscription_id)
            row.refresh_from_db()
            return before != _standing(row)

        _examine(report, Kind.SUBSCRIPTION, row.stripe_subscription_id, read_again)
    twice = (
        Subscription.objects.filter(status__in=Subscription.LIVE)
        .values("account_id")
        .annotate(count=Count("pk"))
        .filter(count__gt=1)
    )
    for each in twice:
        detail = f"{each['count']} live subscriptions: end all but one in Stripe"
        _report_drift(report, Kind.TWO_SUBSCRIPTIONS, str(each["account_id"]), detail)


STEPS = (_sessions, _invoices, _top_ups, _reversals, _payments, _subscriptions)


def _standing(row: Subscription) -> tuple[object, ...]:
    return row.plan_id, row.status, row.current_period_end, row.cancel_at_period_end


def _examine(
    report: Report, kind: Kind, subject: str, repair: Callable[[], bool]
) -> None:
    """Run `repair`, which returns whether it changed anything, and report the result.

    An error of `repair` is listed for staff.
    """
    report.looked_at += 1
    with _guarded(report, kind, subject):
        if repair():
            report.healed.append(f"{subject} ({kind.label})")


def _report_drift(report: Report, kind: Kind, subject: str, detail: str) -> None:
    row = drifts.record(kind=kind, subject=subject, detail=detail)
    if row is not None:
        report.drifts.append(row)
