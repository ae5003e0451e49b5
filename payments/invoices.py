"""Paid invoices of plans: each brings its months' credits, once."""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from focus.money import MICRO
from payments import gateway, packs, plans, subscriptions
from payments.facts import Invoice
from payments.models import Customer, Payment, Plan, Subscription
from wallet import ledger
from wallet.models import Grant


def record(*, invoice: Invoice) -> str:
    """Give the credits of a paid invoice, once. Asks Stripe about its subscription."""
    if invoice.subscription is None:
        return "not of a subscription"
    said = subscriptions.sync(subscription_id=invoice.subscription)
    row = Subscription.objects.filter(
        stripe_subscription_id=invoice.subscription
    ).first()
    if row is None:
        return said
    if invoice.status != "paid":
        return f"{said}; the invoice is {invoice.status}"
    return f"{said}; {_credit(row, invoice)}"


def brings_credits(*, invoice: Invoice) -> bool:
    """Whether it is a paid one, of a customer of ours, for months of a plan."""
    ours = Customer.objects.filter(stripe_customer_id=invoice.customer)
    paid = invoice.status == "paid" and invoice.subscription is not None
    return paid and month_of(invoice).credits_micro > 0 and ours.exists()


@transaction.atomic
def _credit(subscription: Subscription, invoice: Invoice) -> str:
    if invoice.currency != gateway.CURRENCY:
        raise packs.WrongAmount(f"The invoice is in {invoice.currency}.")
    month = month_of(invoice)
    if not month.credits_micro or month.plan is None:
        return "no credits in it"
    payment, new = Payment.objects.get_or_create(
        stripe_invoice_id=invoice.id,
        defaults={
            "account_id": subscription.account_id,
            "plan": month.plan,
            "stripe_payment_intent_id": invoice.payment_intent,
            "amount_cents": invoice.paid_cents,
            "granted_micro": month.credits_micro,
        },
    )
    if not new:
        _paid_by(payment, invoice)
        return "credited before"
    ledger.grant(
        account_id=subscription.account_id,
        amount_micro=month.credits_micro,
        source=Grant.Source.PLAN,
        category=Grant.Category.PAID,
        actor="system:stripe",
        reason=f"plan {month.plan.slug}",
        key=payment.money_key,
        expires_at=month.expires_at,
    )
    return "credited"


def _paid_by(payment: Payment, invoice: Invoice) -> None:
    """Which payment it was may be told later than that there was one; its refunds are
    found by it.
    """
    unknown = Payment.objects.filter(pk=payment.pk, stripe_payment_intent_id=None)
    if invoice.payment_intent:
        unknown.update(stripe_payment_intent_id=invoice.payment_intent)


@dataclass(frozen=True, slots=True)
class Month:
    """What an invoice brings, of which plan (the last line's), and until when."""

    plan: Plan | None
    credits_micro: int
    expires_at: datetime | None


def month_of(invoice: Invoice) -> Month:
    """A plan's credits for each of its months in full; for the rest of a month that was
    begun on another plan, in proportion to what is charged, less what is credited.

    A trial costs nothing and brings nothing, nor does what the customer's balance at
    Stripe paid: that money has brought its credits, when it first came.
    """
    total = 0
    plan, ends_at = None, None
    for line in invoice.lines:
        price = plans.of_price(price=line.price)
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
        return Month(None, 0, None)
    return Month(plan, total, _kept_until(plan, ends_at))


def _kept_until(plan: Plan, ends_at: datetime | None) -> datetime | None:
    if plan.rollover_months is None or ends_at is None:
        return None
    return _months_later(ends_at, plan.rollover_months)


def _months_later(moment: datetime, months: int) -> datetime:
    """The same day of a later month, or that month's last."""
    year, month = divmod(moment.month - 1 + months, 12)
    for day in range(moment.day, 0, -1):
        try:
            return moment.replace(year=moment.year + year, month=month + 1, day=day)
        except ValueError:
            continue
    raise AssertionError("every month has a first day")
