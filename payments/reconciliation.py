"""Our books beside Stripe's, both ways: what was missed is made good, what cannot be is
listed for staff.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Count, Min
from django.db.models.functions import Now
from django.utils import timezone

from focus.errors import DomainError
from payments import attempts, gateway, inbox, invoices, packs, refunds, subscriptions
from payments.facts import Intent, Invoice, Session, UnknownStatus
from payments.models import Drift, Payment, Subscription

log = logging.getLogger(__name__)

Kind = Drift.Kind
# Stripe keeps events for 30 days.
LONGEST = timedelta(days=29)
# However long ago it began: those that are live are read one by one.
ALWAYS_LOOKED_AT = (Kind.SUBSCRIPTION, Kind.TWO_SUBSCRIPTIONS)


class Differs(DomainError):
    """Stripe says one thing and our books another."""

    code = "differs"


@dataclass
class Report:
    """What was looked at, made good, and is left."""

    since: datetime
    looked_at: int = 0
    healed: list[str] = field(default_factory=list)
    drifts: list[Drift] = field(default_factory=list)
    # What was found to agree, or made to.
    agrees: set[tuple[str, str]] = field(default_factory=set)
    # What Stripe's lists said was paid, in cents.
    paid_cents: dict[str, int] = field(default_factory=dict)


def reconcile(*, days: int = 3) -> Report:
    """Compare what happened in the last `days`, and since the oldest open difference.

    Any number at once do no harm. Raises the gateway's refusals.
    """
    report = Report(_since(days))
    for event, body in gateway.events_since(report.since, types=inbox.known_types()):
        # What Stripe told while nobody listened.
        if inbox.store(event, body):
            report.healed.append(f"{event.id} {event.type}")
    inbox.handle_due()
    for step in STEPS:
        step(report)
    _close(report)
    return report


def _close(report: Report) -> None:
    """What agrees now has healed. What is too long ago to be looked at stays listed."""
    listed = {drift.pk for drift in report.drifts}
    healed = [
        drift.pk
        for drift in Drift.objects.filter(healed_at=None).exclude(pk__in=listed)
        if drift.kind in ALWAYS_LOOKED_AT
        or (drift.kind, drift.subject) in report.agrees
    ]
    Drift.objects.filter(pk__in=healed).update(healed_at=Now())


def _since(days: int) -> datetime:
    now = timezone.now()
    since = now - timedelta(days=days)
    oldest = Drift.objects.filter(healed_at=None).aggregate(at=Min("first_seen_at"))
    if oldest["at"]:
        since = min(since, oldest["at"] - timedelta(days=days))
    return max(since, now - LONGEST)


def _sessions(report: Report) -> None:
    """Paid in Stripe: credited here?"""
    for session in gateway.sessions_since(report.since):
        if session.made_for != packs.PACK or not session.paid:
            continue
        report.paid_cents[session.id] = session.total_cents

        def credited(session: Session = session) -> bool:
            if Payment.objects.filter(stripe_session_id=session.id).exists():
                return False
            said = packs.record(session=session)
            if not Payment.objects.filter(stripe_session_id=session.id).exists():
                raise Differs(said)
            return True

        _examine(report, Kind.NOT_CREDITED, session.id, credited)


def _invoices(report: Report) -> None:
    for invoice in gateway.invoices_since(report.since):
        if not invoices.brings_credits(invoice=invoice):
            continue
        report.paid_cents[invoice.id] = invoice.paid_cents

        def credited(invoice: Invoice = invoice) -> bool:
            if Payment.objects.filter(stripe_invoice_id=invoice.id).exists():
                return False
            said = invoices.record(invoice=invoice)
            if not Payment.objects.filter(stripe_invoice_id=invoice.id).exists():
                raise Differs(said)
            return True

        _examine(report, Kind.NOT_CREDITED, invoice.id, credited)


def _top_ups(report: Report) -> None:
    for intent in gateway.intents_since(report.since):
        if intent.made_for != attempts.TOP_UP or intent.status != "succeeded":
            continue
        report.paid_cents[intent.id] = intent.received_cents

        def credited(intent: Intent = intent) -> bool:
            paid = Payment.objects.filter(stripe_payment_intent_id=intent.id)
            if paid.exists():
                return False
            said = attempts.record(intent=intent)
            if not paid.exists():
                raise Differs(said)
            return True

        _examine(report, Kind.NOT_CREDITED, intent.id, credited)


def _reversals(report: Report) -> None:
    """Refunded or disputed in Stripe: taken back here?"""
    for intent in sorted(gateway.reversed_since(report.since)):

        def settled(intent: str = intent) -> bool:
            stands = gateway.reversals(payment_intent=intent)
            payment = refunds.payment_of(payment_intent=intent)
            if payment is None or refunds.agrees(payment=payment, stands=stands):
                return False
            refunds.settle_up(payment_intent=intent)
            return True

        _examine(report, Kind.REVERSAL, intent, settled)


def _payments(report: Report) -> None:
    """Credited here: paid in Stripe, and that much?"""
    for payment in Payment.objects.filter(paid_at__gte=report.since).iterator():
        subject = payment.stripe_subject

        def paid(payment: Payment = payment, subject: str = subject) -> bool:
            there = report.paid_cents.get(subject)
            if there is None:
                there = _paid_cents(payment)
            if there != payment.amount_cents:
                raise Differs(f"{there} cents in Stripe, {payment.amount_cents} here")
            return False

        _examine(report, Kind.NOT_PAID, subject, paid)


def _paid_cents(payment: Payment) -> int:
    if payment.stripe_session_id:
        session = gateway.session(session_id=payment.stripe_session_id)
        return session.total_cents if session.paid else 0
    if payment.top_up_id:
        return gateway.intent(intent_id=payment.stripe_subject).received_cents
    invoice = gateway.invoice(invoice_id=str(payment.stripe_invoice_id))
    return invoice.paid_cents if invoice.status == "paid" else 0


def _subscriptions(report: Report) -> None:
    """Whether each live one stands as we think, and that nobody has two."""
    for row in Subscription.objects.filter(status__in=Subscription.LIVE).iterator():

        def same(row: Subscription = row) -> bool:
            before = _standing(row)
            subscriptions.sync(subscription_id=row.stripe_subscription_id)
            row.refresh_from_db()
            return before != _standing(row)

        _examine(report, Kind.SUBSCRIPTION, row.stripe_subscription_id, same)
    twice = (
        Subscription.objects.filter(status__in=Subscription.LIVE)
        .values("account_id")
        .annotate(count=Count("pk"))
        .filter(count__gt=1)
    )
    for each in twice:
        detail = f"{each['count']} live subscriptions: end all but one in Stripe"
        _list(report, Kind.TWO_SUBSCRIPTIONS, str(each["account_id"]), detail)


STEPS = (_sessions, _invoices, _top_ups, _reversals, _payments, _subscriptions)


def _standing(row: Subscription) -> tuple[object, ...]:
    return row.plan_id, row.status, row.current_period_end, row.cancel_at_period_end


def _examine(
    report: Report, kind: Kind, subject: str, mend: Callable[[], bool]
) -> None:
    """`mend` says whether it had to, or raises what stands in its way."""
    report.looked_at += 1
    try:
        if mend():
            report.healed.append(f"{subject} ({kind.label})")
        report.agrees.add((kind, subject))
    except (gateway.StripeDown, gateway.PaymentsOff):
        # Of no payment in particular: the whole comparison waits for the next run.
        raise
    except (DomainError, UnknownStatus) as differs:
        _list(report, kind, subject, str(differs))


def _list(report: Report, kind: Kind, subject: str, detail: str) -> None:
    row, _ = Drift.objects.update_or_create(
        kind=kind,
        subject=subject,
        healed_at=None,
        defaults={"detail": detail[:400], "last_seen_at": Now()},
    )
    report.drifts.append(row)
    log.error("differs from Stripe: %s %s: %s", kind, subject, detail)
