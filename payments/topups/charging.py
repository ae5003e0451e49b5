"""Automatic charges: when one is due, and how it is made once.

An attempt is a row before it is a request, with one idempotency key for its whole life.
Whoever takes it up after a crash looks at Stripe for what the dead one left, asks again
under that key while Stripe remembers it, and later not at all: so nobody pays twice.
"""

import logging
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Sum
from django.utils import timezone

from focus.background.sweeps import Sweep
from focus.errors import DomainError
from focus.money import MICRO
from payments import gateway
from payments.models import Customer, Purchase, Reversal, TopUpAttempt, TopUpRule
from payments.stripe_objects import Intent, UnreadableObject
from payments.topups import outcomes as topup_outcomes
from payments.topups.setup import COOL_DOWN, Why
from wallet import ledger

log = logging.getLogger(__name__)

Status = TopUpAttempt.Status
# Longer than a step's requests take at worst: until then nobody else has the attempt.
LEASE = timedelta(seconds=120)
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=10), timedelta(hours=1)
# How long one run goes on; the next is rung for five seconds later.
RUN_SECONDS = 20
# Stripe forgets an idempotency key after 24 hours; until then we may ask again.
RESUMABLE = timedelta(hours=23)
# A bank debit that has taken longer is not counted on any more.
DEBIT_TAKES = timedelta(days=14)


def begin_due(*, limit: int = 200) -> int:
    """Write an attempt for each wallet that has fallen below its owner's threshold.
    Returns how many. Any number of workers at once begin no more than one.

    First switches off each rule that may not charge again, at any balance: its
    owner must not read "on" where money went back or the pack has changed.
    """
    _end_what_must()
    sweep, begun = Sweep("payments.begin_top_ups"), 0
    rested = _due().exclude(pk__in=sweep.backing_off)
    rule_ids = list(rested.values_list("pk", flat=True)[:limit])
    for rule_id in rule_ids:
        with sweep.each(rule_id):
            begun += begin(rule_id=rule_id) is not None
    sweep.end(complete=len(rule_ids) < limit)
    return begun


def _end_what_must(*, limit: int = 200) -> None:
    sweep = Sweep("payments.end_top_ups")
    rested = _to_end().exclude(pk__in=sweep.backing_off)
    rule_ids = list(rested.values_list("pk", flat=True)[:limit])
    for rule_id in rule_ids:
        with sweep.each(rule_id), transaction.atomic():
            rules = TopUpRule.objects.select_for_update(no_key=True, of=("self",))
            rule = rules.select_related("pack", "account").get(pk=rule_id)
            if rule.enabled and (why := _must_end(rule)):
                topup_outcomes.switch_off(rule=rule, why=why)
    sweep.end(complete=len(rule_ids) < limit)


def _to_end() -> QuerySet[TopUpRule]:
    """The rules of which `_must_end` says so."""
    same_pack = Q(
        pack__active=True,
        price_cents=F("pack__price_cents"),
        credits_micro=F("pack__credits") * MICRO,
    )
    went_back = Reversal.objects.filter(
        payment__account=OuterRef("account"),
        counts=True,
        created_at__gte=OuterRef("switched_on_at"),
    )
    on = TopUpRule.objects.filter(enabled=True).order_by("pk")
    return on.filter(~same_pack | Exists(went_back))


def _due() -> QuerySet[TopUpRule]:
    pending = TopUpAttempt.objects.filter(
        account=OuterRef("account"), status=Status.PENDING
    )
    # Debt is not paid off behind its owner's back: it may come from a dispute.
    return TopUpRule.objects.filter(
        ~Exists(pending),
        enabled=True,
        not_before__lte=timezone.now(),
        account__is_active=True,
        account__epoch=F("epoch"),
        account__wallet__available_micro__lt=F("threshold_micro"),
        account__wallet__debt_micro=0,
    ).order_by("not_before")


@transaction.atomic
def begin(*, rule_id: int) -> TopUpAttempt | None:
    """An attempt, if the rule allows one now."""
    # The lock stands before everything that is decided on: others wait, then see it.
    rule = (
        TopUpRule.objects.select_for_update(no_key=True, of=("self",))
        .select_related("pack", "account")
        .get(pk=rule_id)
    )
    now = timezone.now()
    if not _due().filter(pk=rule.pk).exists():
        return None
    if why := _must_end(rule):
        topup_outcomes.switch_off(rule=rule, why=why)
        return None
    if wait := _must_wait(rule, now):
        TopUpRule.objects.filter(pk=rule.pk).update(not_before=wait)
        return None
    customer = Customer.objects.get(account=rule.account_id)
    if customer.stripe_customer_id is None:
        # Stripe lost the customer, and the card with it.
        topup_outcomes.switch_off(rule=rule, why=Why.CARD)
        return None
    TopUpRule.objects.filter(pk=rule.pk).update(not_before=now + COOL_DOWN)
    return TopUpAttempt.objects.create(
        account_id=rule.account_id,
        pack=rule.pack,
        credits_micro=rule.credits_micro,
        price_cents=rule.price_cents,
        stripe_customer_id=customer.stripe_customer_id,
        stripe_payment_method_id=rule.stripe_payment_method_id,
        created_at=now,
        due_at=now,
    )


def _must_end(rule: TopUpRule) -> str:
    pack = rule.pack
    sold = (pack.active, pack.credits * MICRO, pack.price_cents)
    if sold != (True, rule.credits_micro, rule.price_cents):
        return Why.PACK
    # Money that went back has lowered the balance: it must not be fetched again.
    went_back = Reversal.objects.filter(
        payment__account=rule.account_id,
        counts=True,
        created_at__gte=rule.switched_on_at,
    )
    return Why.REVERSED if went_back.exists() else ""


def _must_wait(rule: TopUpRule, now: datetime) -> datetime | None:
    """Until when, where credits are on their way or the month's limit is reached."""
    on_the_way = Purchase.objects.filter(
        account=rule.account_id,
        status=Purchase.Status.PROCESSING,
        created_at__gte=now - DEBIT_TAKES,
    ).aggregate(micro=Sum("credits_micro", default=0))["micro"]
    # By time, not by the sweeper: what has expired is not there any more.
    left = ledger.balance(account_id=rule.account_id).credits_micro
    if left + on_the_way >= rule.threshold_micro:
        return now + COOL_DOWN
    spent = spent_cents(account_id=rule.account_id, at=now)
    if spent + rule.price_cents > rule.ceiling_cents:
        return _month_after(now)
    return None


def spent_cents(*, account_id: UUID, at: datetime) -> int:
    """What automatic charges took in the calendar month (UTC), with what is pending.

    One that began in one month and was paid in the next counts in both.
    """
    month = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    after = _month_after(at)
    begun = Q(created_at__gte=month, created_at__lt=after)
    ended = Q(ended_at__gte=month, ended_at__lt=after)
    counted = Q(status=Status.PENDING) | Q(status=Status.PAID) & (begun | ended)
    mine = TopUpAttempt.objects.filter(counted, account=account_id)
    return int(mine.aggregate(cents=Sum("price_cents", default=0))["cents"])


def latest_attempts(*, account_id: UUID, count: int = 5) -> QuerySet[TopUpAttempt]:
    """The last attempts, newest first; `refunded` says that money of one went back."""
    went_back = Reversal.objects.filter(payment__top_up=OuterRef("pk"), counts=True)
    attempts_of = TopUpAttempt.objects.filter(account=account_id)
    mine = attempts_of.select_related("pack")
    mine = mine.annotate(refunded=Exists(went_back))  # type: ignore[no-redef]
    return mine.order_by("-created_at")[:count]


def _month_after(at: datetime) -> datetime:
    first = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)


def charge_due(*, limit: int = 100, seconds: float = RUN_SECONDS) -> int:
    """Take up what is due, new ones first, one at a time, until time is up or Stripe
    does not answer. Returns how many have come to their end.
    """
    done = 0
    ends = time.monotonic() + seconds
    for _ in range(limit):
        attempt = _claim()
        if attempt is None or time.monotonic() > ends:
            break
        try:
            done += _advance(attempt)
        except (gateway.StripeDown, gateway.PaymentsOff) as down:
            _put_off(attempt, down.message)
            break
        # Whatever it is, it must neither stop the others nor be lost.
        except Exception as failure:
            log.exception("top-up %s, try %s", attempt.pk, attempt.tries)
            _put_off(attempt, f"{type(failure).__name__}: {failure}")
    return done


@transaction.atomic
def _claim() -> TopUpAttempt | None:
    now = timezone.now()
    row = (
        TopUpAttempt.objects.select_for_update(no_key=True, skip_locked=True)
        .filter(due_at__lte=now)
        .order_by("tries", "due_at", "pk")
        .first()
    )
    if row is not None:
        row.tries += 1
        row.due_at = now + LEASE
        row.save(update_fields=["tries", "due_at"])
    return row


def _put_off(attempt: TopUpAttempt, why: str) -> None:
    """Look again later; staff read why."""
    wait = min(FIRST_WAIT * 2 ** min(attempt.tries - 1, 12), LONGEST_WAIT)
    TopUpAttempt.objects.filter(pk=attempt.pk, status=Status.PENDING).update(
        due_at=timezone.now() + wait, reason=why[:120]
    )


def _advance(attempt: TopUpAttempt) -> bool:
    """One step. Whether it came to its end."""
    try:
        intent = _left_at_stripe(attempt)
    except gateway.Missing:
        if not _is_old(attempt):
            raise
        reason = "Stripe does not know this payment"
        topup_outcomes.end_attempt(
            attempt=attempt, status=Status.CANCELLED, reason=reason
        )
        return True
    if intent is None:
        if obstacle := _obstacle(attempt):
            topup_outcomes.end_attempt(
                attempt=attempt, status=Status.CANCELLED, reason=obstacle
            )
            return True
        try:
            intent = gateway.charge(params=_params(attempt), key=_key(attempt))
        except (gateway.StripeRefused, gateway.Missing) as no:
            # Of the request, not of an intent; unless an earlier one left one.
            intent = _look_for(attempt)
            if intent is None:
                _refused(attempt, no)
                return True
    return _follow(attempt, intent)


def _left_at_stripe(attempt: TopUpAttempt) -> Intent | None:
    if attempt.stripe_payment_intent_id:
        return gateway.intent(intent_id=attempt.stripe_payment_intent_id)
    return _look_for(attempt) if attempt.tries > 1 else None


def _look_for(attempt: TopUpAttempt) -> Intent | None:
    since = attempt.created_at - timedelta(hours=1)
    made = gateway.intents_of_customer(customer=attempt.stripe_customer_id, since=since)
    unread = False
    for it in made:
        if isinstance(it, UnreadableObject):
            unread = True
        elif it.attempt == str(attempt.pk):
            return it
    if unread:
        # It may be the one that is looked for: charge no card on a guess.
        raise gateway.StripeBusy("Stripe told of a payment that cannot be read.")
    return None


def _obstacle(attempt: TopUpAttempt) -> str:
    """Why it must not be asked for, this time or any more."""
    if _is_old(attempt):
        return "Stripe did not answer for a day"
    allowed = TopUpRule.objects.filter(
        account=attempt.account_id,
        enabled=True,
        stripe_payment_method_id=attempt.stripe_payment_method_id,
        account__is_active=True,
        account__epoch=F("epoch"),
    )
    return "" if allowed.exists() else "switched off meanwhile"


def _is_old(attempt: TopUpAttempt) -> bool:
    return timezone.now() - attempt.created_at >= RESUMABLE


def _key(attempt: TopUpAttempt) -> str:
    return f"focus-{attempt.pk}-charge"


def _params(attempt: TopUpAttempt) -> dict[str, object]:
    """Of the attempt's row alone: under one key they must never differ."""
    return {
        "amount": attempt.price_cents,
        "currency": gateway.CURRENCY,
        "customer": attempt.stripe_customer_id,
        "payment_method": attempt.stripe_payment_method_id,
        "payment_method_types": ["card"],
        "off_session": True,
        "confirm": True,
        "metadata": {"focus": topup_outcomes.TOP_UP, "attempt": str(attempt.pk)},
    }


def _follow(attempt: TopUpAttempt, intent: Intent) -> bool:
    TopUpAttempt.objects.filter(
        pk=attempt.pk, stripe_payment_intent_id__isnull=True
    ).update(stripe_payment_intent_id=intent.id)
    refusal = intent.refusal
    if intent.status not in ("succeeded", "processing", "canceled"):
        # An attempt ends only when nobody can pay it any more.
        try:
            intent = gateway.cancel_intent(intent_id=intent.id)
        except gateway.StripeRefused:
            intent = gateway.intent(intent_id=intent.id)
    if intent.status == "succeeded":
        topup_outcomes.record(intent=intent)
        return True
    if intent.status != "canceled":
        _put_off(attempt, f"Stripe says {intent.status}")
        return False
    refusal = refusal or intent.refusal
    if refusal == "authentication_required":
        topup_outcomes.end_attempt(
            attempt=attempt, status=Status.AUTHENTICATION, reason=refusal
        )
    else:
        status = Status.DECLINED if refusal else Status.CANCELLED
        topup_outcomes.end_attempt(
            attempt=attempt, status=status, reason=refusal or "cancelled at Stripe"
        )
    return True


def _refused(attempt: TopUpAttempt, no: DomainError) -> None:
    if isinstance(no, gateway.CardDeclined):
        topup_outcomes.end_attempt(
            attempt=attempt,
            status=Status.DECLINED,
            reason=str(no.facts.get("reason") or "declined"),
        )
    else:
        topup_outcomes.end_attempt(
            attempt=attempt,
            status=Status.CANCELLED,
            reason=no.message,
            why_off=Why.CARD,
        )
        # Switching on again needs another card: this one would be refused again.
        TopUpRule.objects.filter(
            account=attempt.account_id,
            enabled=False,
            stripe_payment_method_id=attempt.stripe_payment_method_id,
        ).update(stripe_payment_method_id="", card="")
