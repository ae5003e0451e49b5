"""Outcomes of automatic charges: credits, a decline, or the end of the rule.

Only `record` grants credits. The response to a charge, the webhook and the
reconciliation all call it.
"""

from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts import mails
from focus.errors import DomainError
from focus.money import MICRO
from payments import gateway
from payments.models import Payment, TopUpAttempt, TopUpRule
from payments.packs import WrongAmount
from payments.stripe_objects import Intent
from payments.topups import setup as topup_setup
from payments.topups.setup import Why
from wallet import ledger
from wallet.models import Grant

Status = TopUpAttempt.Status
# Marks our payments: other products may use the same Stripe account.
TOP_UP = "top_up"
# The wait after the first decline, and the second. The third switches the rule off.
BACK_OFF = (timedelta(hours=1), timedelta(days=1))
# Declines that a bank never takes back.
FINAL = {
    "expired_card",
    "lost_card",
    "pickup_card",
    "restricted_card",
    "revocation_of_all_authorizations",
    "revocation_of_authorization",
    "stolen_card",
    "stop_payment_order",
}
# The subject of the mail by reason; other reasons share one subject.
SUBJECTS = {Why.AUTHENTICATION: "Your top-up needs your confirmation"}


class PaidTwice(DomainError):
    """Stripe took the money of one attempt in two payments. Staff must refund one."""

    code = "paid_twice"


def record(*, intent: Intent) -> str:
    """Record a paid automatic charge and grant its credits, once.

    Returns the outcome in words. Locks the rule, then the attempt. Raises `WrongAmount`
    and `PaidTwice`.
    """
    if intent.made_for != TOP_UP:
        return "not a top-up"
    if intent.status != "succeeded":
        return intent.status
    try:
        attempt_id = UUID(intent.attempt)
    except ValueError:
        return "not a top-up of ours"
    with transaction.atomic():
        found = _lock_attempt(attempt_id)
        if found is None or found[1].stripe_customer_id != intent.customer:
            return "not a top-up of ours"
        return _credit(*found, intent)


def _lock_attempt(attempt_id: UUID) -> tuple[TopUpRule, TopUpAttempt] | None:
    """Lock the rule, then the attempt. None if there is no such attempt."""
    attempts = TopUpAttempt.objects.select_related("pack")
    owner = attempts.filter(pk=attempt_id).values_list("account_id", flat=True).first()
    if owner is None:
        return None
    rules = TopUpRule.objects.select_for_update(no_key=True, of=("self",))
    rule = rules.select_related("account").get(account=owner)
    locked = attempts.select_for_update(no_key=True, of=("self",))
    return rule, locked.get(pk=attempt_id)


def _credit(rule: TopUpRule, attempt: TopUpAttempt, intent: Intent) -> str:
    if (intent.currency, intent.received_cents) != (
        gateway.CURRENCY,
        attempt.price_cents,
    ):
        raise WrongAmount(
            f"{intent.received_cents} {intent.currency} for {attempt.price_cents}"
        )
    known = Payment.objects.filter(top_up=attempt).first()
    if known is not None:
        if known.stripe_payment_intent_id != intent.id:
            raise PaidTwice(f"{attempt} was paid by {known.stripe_subject} before.")
        return "credited before"
    payment = Payment.objects.create(
        account_id=attempt.account_id,
        top_up=attempt,
        stripe_payment_intent_id=intent.id,
        amount_cents=intent.received_cents,
        granted_micro=attempt.credits_micro,
    )
    ledger.grant(
        account_id=attempt.account_id,
        amount_micro=attempt.credits_micro,
        source=Grant.Source.PURCHASE,
        category=Grant.Category.PAID,
        actor="system:stripe",
        reason=f"pack {attempt.pack.sku}, automatic top-up",
        key=payment.money_key,
    )
    _write_end(attempt, Status.PAID, "", stripe_payment_intent_id=intent.id)
    TopUpRule.objects.filter(pk=rule.pk).update(declines=0)
    _mail_owner(
        rule,
        "Your credits were topped up",
        f"{_describe(attempt)} were bought automatically and charged to your card"
        f" ({rule.card}), as you had set it.",
    )
    return "credited"


def _write_end(attempt: TopUpAttempt, status: str, reason: str, **more: object) -> None:
    TopUpAttempt.objects.filter(pk=attempt.pk).update(
        status=status,
        reason=reason[:120],
        due_at=None,
        lease=None,
        ended_at=timezone.now(),
        **more,
    )


@transaction.atomic
def end_attempt(
    *, attempt: TopUpAttempt, status: str, reason: str, why_off: str = ""
) -> bool:
    """End a claimed attempt that charged nothing, and never will.

    A `status` of declined backs the rule off or switches it off. One of authentication,
    or a `why_off`, switches it off. Mails the owner of a rule that went off. Locks
    the rule, then the attempt. Returns False, and writes nothing, where the attempt has
    ended or the worker has lost it to another.
    """
    found = _lock_attempt(attempt.pk)
    if found is None:
        return False
    rule, row = found
    if row.status != Status.PENDING or row.lease != attempt.lease:
        return False
    _write_end(row, status, reason)
    if status == Status.AUTHENTICATION:
        switch_off(rule=rule, why=Why.AUTHENTICATION, attempt=row)
    elif status == Status.DECLINED:
        _declined(rule, row, reason)
    elif why_off:
        switch_off(rule=rule, why=why_off, attempt=row)
    return True


def _declined(rule: TopUpRule, attempt: TopUpAttempt, reason: str) -> None:
    declines = rule.declines + 1
    TopUpRule.objects.filter(pk=rule.pk).update(declines=declines)
    if reason in FINAL or declines > len(BACK_OFF):
        switch_off(rule=rule, why=Why.DECLINED, attempt=attempt)
        return
    wait = BACK_OFF[declines - 1]
    again = timezone.now() + wait
    TopUpRule.objects.filter(pk=rule.pk).update(not_before=again)
    _mail_owner(
        rule,
        "Your automatic top-up was declined",
        f"Your bank declined your card ({rule.card}) for {_describe(attempt)}."
        f" Nothing was charged. We try again after {again:%Y-%m-%d %H:%M} UTC, if your"
        " credits are still below your threshold.",
    )


def switch_off(
    *, rule: TopUpRule, why: str, attempt: TopUpAttempt | None = None
) -> None:
    """Switch off a rule that the caller has locked, and mail its owner."""
    topup_setup.disable(rule, why)
    about = f" for {_describe(attempt)}" if attempt else ""
    what = f"Automatic top-up is off now: {Why(why).label}{about}. Nothing was charged."
    if why == Why.AUTHENTICATION:
        what += (
            " Buy the pack once on your credits page: your bank asks for your "
            "approval, and automatic top-up switches on again."
        )
    _mail_owner(rule, SUBJECTS.get(Why(why), "Automatic top-up was switched off"), what)


def _describe(attempt: TopUpAttempt) -> str:
    return f"{attempt.credits_micro // MICRO:,} credits for {attempt.price_dollars}"


def _mail_owner(rule: TopUpRule, subject: str, what: str) -> None:
    where = f"{settings.PUBLIC_BASE_URL}/credits"
    mails.write(user=rule.account, subject=subject, what=f"{what}\n\n{where}")
