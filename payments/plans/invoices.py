"""Paid invoices of plans: each grants the credits of its months, once."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction

from focus.money import MICRO
from payments import customers, drifts, gateway, packs
from payments.models import Payment, Plan, Subscription
from payments.plans import catalog as plan_catalog
from payments.plans import subscriptions
from payments.stripe_objects import Invoice
from wallet import ledger
from wallet.models import Grant


def record(*, invoice: Invoice) -> str:
    """Grant the credits of a paid invoice, once. Returns the outcome in words.

    Reads the subscription from Stripe first. A paid invoice that brings no credits is
    listed for staff. Raises `UnknownPlan`, and `packs.WrongAmount`.
    """
    outcome, unknown_plan = "not of a subscription", None
    if invoice.subscription is not None:
        try:
            outcome = subscriptions.sync(subscription_id=invoice.subscription)
        except (subscriptions.UnknownPlan, gateway.Missing) as unknown:
            # The invoice is paid, and its lines may still be of a plan's Price.
            outcome, unknown_plan = unknown.message, unknown
    if (account_id := owner_of(invoice=invoice)) is None:
        return outcome
    if invoice.status == "paid":
        outcome = f"{outcome}; {_credit(account_id, invoice)}"
    elif invoice.subscription is not None:
        outcome = f"{outcome}; the invoice is {invoice.status}"
    if unknown_plan is not None:
        raise unknown_plan
    return outcome


def owner_of(*, invoice: Invoice) -> UUID | None:
    """Return the account that pays an invoice: by subscription, else by customer."""
    known = Subscription.objects.filter(stripe_subscription_id=invoice.subscription)
    found: UUID | None = known.values_list("account_id", flat=True).first()
    return found or customers.account_of_customer(customer=invoice.customer)


def is_ours(*, invoice: Invoice) -> bool:
    """Whether an invoice is paid and belongs to an account of ours."""
    return invoice.status == "paid" and owner_of(invoice=invoice) is not None


def about(invoice: Invoice) -> str:
    """Describe a paid invoice that brings no credits, for staff."""
    prices = ", ".join(
        dict.fromkeys(line.price for line in invoice.lines if line.price)
    )
    return f"{invoice.paid_cents} cents paid, for the prices {prices or '-'}"


def _credit(account_id: UUID, invoice: Invoice) -> str:
    if known := Payment.objects.filter(stripe_invoice_id=invoice.id).first():
        _paid_by(known, invoice)
        return "credited before"
    brought = credits_of(invoice)
    if not brought.credits_micro or brought.plan is None:
        if not invoice.paid_cents:
            return "no credits in it"
        kind = drifts.Kind.NO_CREDITS
        drifts.record(kind=kind, subject=invoice.id, detail=about(invoice))
        return "no credits in it, and it is listed for staff"
    return _grant(account_id, invoice, brought.plan, brought)


@transaction.atomic
def _grant(
    account_id: UUID, invoice: Invoice, plan: Plan, brought: "InvoiceCredits"
) -> str:
    if invoice.currency != gateway.CURRENCY:
        raise packs.WrongAmount(f"The invoice is in {invoice.currency}.")
    payment, new = Payment.objects.get_or_create(
        stripe_invoice_id=invoice.id,
        defaults={
            "account_id": account_id,
            "plan": plan,
            "stripe_payment_intent_id": invoice.payment_intent,
            "amount_cents": invoice.paid_cents,
            "granted_micro": brought.credits_micro,
        },
    )
    if not new:
        _paid_by(payment, invoice)
        return "credited before"
    ledger.grant(
        account_id=account_id,
        amount_micro=brought.credits_micro,
        source=Grant.Source.PLAN,
        category=Grant.Category.PAID,
        actor="system:stripe",
        reason=f"plan {plan.slug}",
        key=payment.money_key,
        expires_at=brought.expires_at,
    )
    return "credited"


def _paid_by(payment: Payment, invoice: Invoice) -> None:
    """Add the payment intent if it was unknown: refunds find the payment by it."""
    unknown = Payment.objects.filter(pk=payment.pk, stripe_payment_intent_id=None)
    if invoice.payment_intent:
        unknown.update(stripe_payment_intent_id=invoice.payment_intent)


@dataclass(frozen=True, slots=True)
class InvoiceCredits:
    """The credits that an invoice brings, their plan (the last line's) and expiry."""

    plan: Plan | None
    credits_micro: int
    expires_at: datetime | None


def credits_of(invoice: Invoice) -> InvoiceCredits:
    """Compute the credits of an invoice. See decision 14.

    A full month brings the plan's credits. A prorated line, after a change of plan,
    brings a proportional share, and a credited line takes its share away. A trial costs
    nothing and brings nothing. The part that the customer's balance at Stripe paid
    brings nothing either: that money brought its credits when it first came.
    """
    total = 0
    plan, ends_at = None, None
    known = plan_catalog.prices_by_id(prices={line.price for line in invoice.lines})
    for line in invoice.lines:
        price = known.get(line.price)
        if price is None:
            continue
        credits_micro = price.plan.credits * MICRO
        if line.proration:
            total += credits_micro * line.amount_cents // price.price_cents
        elif line.amount_cents > 0:
            total += credits_micro * line.quantity
        if line.amount_cents > 0:
            plan, ends_at = price.plan, line.ends_at
    if invoice.from_balance_cents and invoice.total_cents > 0:
        fresh_cents = max(0, invoice.total_cents - invoice.from_balance_cents)
        total = total * fresh_cents // invoice.total_cents
    if plan is None or total <= 0:
        return InvoiceCredits(None, 0, None)
    return InvoiceCredits(plan, total, _kept_until(plan, ends_at))


def _kept_until(plan: Plan, ends_at: datetime | None) -> datetime | None:
    if plan.rollover_months is None or ends_at is None:
        return None
    return _months_later(ends_at, plan.rollover_months)


def _months_later(moment: datetime, months: int) -> datetime:
    """Return the same day of a later month, or that month's last day."""
    year, month = divmod(moment.month - 1 + months, 12)
    for day in range(moment.day, 0, -1):
        try:
            return moment.replace(year=moment.year + year, month=month + 1, day=day)
        except ValueError:
            continue
    raise AssertionError("every month has a first day")
