"""Automatic charges: when a wallet is due for one, and how to charge exactly once.

An attempt is a row before it is a request to Stripe, with one idempotency key for its
whole life. Attempts are a row queue (`focus.due`). A worker that takes up an attempt
after a crash goes by three rules, so no customer pays twice:

1. It first looks up the payment that the dead worker may have left at Stripe.
2. While Stripe remembers the key, it repeats the request under the same key.
3. After that it cancels the attempt and requests nothing.
"""

import logging
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Sum
from django.utils import timezone

from focus import due
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
QUEUE = due.Queue(
    TopUpAttempt.objects.all(),
    task="payments.top_up",
    # Longer than the requests of a step take at worst.
    lease=timedelta(seconds=120),
    backoff=due.Backoff(first=timedelta(seconds=10), longest=timedelta(hours=1)),
    is_on=gateway.is_on,
)
# How long one run goes on. Beat starts the next one five seconds later.
RUN_SECONDS = 20
# Stripe forgets an idempotency key after 24 hours. A repeated request is safe before.
RESUMABLE = timedelta(hours=23)
# A bank debit that takes longer no longer counts as credits on their way.
DEBIT_TAKES = timedelta(days=14)


def begin_due(*, limit: int = 200) -> int:
    """Write an attempt for each wallet below its owner's threshold. Returns how many.

    Parallel workers begin one attempt for a wallet. First switches off each rule that
    may not charge again, at any balance. Otherwise the page would show "on" after a
    refund or a change of the pack.
    """
    _switch_off_ended()
    sweep, begun = Sweep("payments.begin_top_ups"), 0
    rested = _due_rules().exclude(pk__in=sweep.backing_off)
    rule_ids = list(rested.values_list("pk", flat=True)[:limit])
    for rule_id in rule_ids:
        with sweep.each(rule_id):
            begun += begin(rule_id=rule_id) is not None
    sweep.end(complete=len(rule_ids) < limit)
    return begun


def _switch_off_ended(*, limit: int = 200) -> None:
    sweep = Sweep("payments.end_top_ups")
    rested = _ended_rules().exclude(pk__in=sweep.backing_off)
    rule_ids = list(rested.values_list("pk", flat=True)[:limit])
    for rule_id in rule_ids:
        with sweep.each(rule_id), transaction.atomic():
            rules = TopUpRule.objects.select_for_update(no_key=True, of=("self",))
            rule = rules.select_related("pack", "account").get(pk=rule_id)
            if rule.enabled and (why := _why_ended(rule)):
                topup_outcomes.switch_off(rule=rule, why=why)
    sweep.end(complete=len(rule_ids) < limit)


def _ended_rules() -> QuerySet[TopUpRule]:
    """Return the rules for which `_why_ended` has a reason."""
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


def _due_rules() -> QuerySet[TopUpRule]:
    """Return the rules that call for an attempt, by balance and by time."""
    pending = TopUpAttempt.objects.filter(
        account=OuterRef("account"), status=Status.PENDING
    )
    # A wallet in debt is left out: the debt may come from a dispute, and its owner pays
    # it off on purpose only.
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
    """Write an attempt if the rule allows one now. Locks the rule; asks no Stripe.

    Switches off a rule that may not charge again.
    """
    # Lock the rule before any decision: a parallel worker waits, then sees the attempt.
    rule = (
        TopUpRule.objects.select_for_update(no_key=True, of=("self",))
        .select_related("pack", "account")
        .get(pk=rule_id)
    )
    now = timezone.now()
    if not _due_rules().filter(pk=rule.pk).exists():
        return None
    if why := _why_ended(rule):
        topup_outcomes.switch_off(rule=rule, why=why)
        return None
    if wait := _must_wait(rule, now):
        TopUpRule.objects.filter(pk=rule.pk).update(not_before=wait)
        return None
    customer = Customer.objects.get(account=rule.account_id)
    if customer.stripe_customer_id is None:
        # Stripe has deleted the customer, and the card with it.
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
        due_at=due.NOW,
    )


def _why_ended(rule: TopUpRule) -> str:
    """Return why the rule may not charge any more, or an empty string."""
    pack = rule.pack
    sold = (pack.active, pack.credits * MICRO, pack.price_cents)
    if sold != (True, rule.credits_micro, rule.price_cents):
        return Why.PACK
    # A refund has lowered the balance: the next charge would take the money again.
    went_back = Reversal.objects.filter(
        payment__account=rule.account_id,
        counts=True,
        created_at__gte=rule.switched_on_at,
    )
    return Why.REVERSED if went_back.exists() else ""


def _must_wait(rule: TopUpRule, now: datetime) -> datetime | None:
    """Return when to look at the rule again, or None where it may charge now.

    It waits while credits are on their way, and at the limit of the month.
    """
    on_the_way = Purchase.objects.filter(
        account=rule.account_id,
        status=Purchase.Status.PROCESSING,
        created_at__gte=now - DEBIT_TAKES,
    ).aggregate(micro=Sum("credits_micro", default=0))["micro"]
    # The balance leaves out expired credits, also before the sweeper has met them.
    left = ledger.balance(account_id=rule.account_id).credits_micro
    if left + on_the_way >= rule.threshold_micro:
        return now + COOL_DOWN
    spent = spent_cents(account_id=rule.account_id, at=now)
    if spent + rule.price_cents > rule.ceiling_cents:
        return _month_after(now)
    return None


def spent_cents(*, account_id: UUID, at: datetime) -> int:
    """Return what automatic charges cost in the month (UTC) of `at`, in cents.

    A charge that began in one month and was paid in the next counts in both. A
    pending charge counts in every month, because it may be paid in any.
    """
    month = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    after = _month_after(at)
    begun = Q(created_at__gte=month, created_at__lt=after)
    ended = Q(ended_at__gte=month, ended_at__lt=after)
    counted = Q(status=Status.PENDING) | Q(status=Status.PAID) & (begun | ended)
    mine = TopUpAttempt.objects.filter(counted, account=account_id)
    return int(mine.aggregate(cents=Sum("price_cents", default=0))["cents"])


def latest_attempts(*, account_id: UUID, count: int = 5) -> QuerySet[TopUpAttempt]:
    """Return the latest attempts, newest first.

    Each says by `refunded` whether money of its payment went back.
    """
    went_back = Reversal.objects.filter(payment__top_up=OuterRef("pk"), counts=True)
    attempts_of = TopUpAttempt.objects.filter(account=account_id)
    mine = attempts_of.select_related("pack")
    mine = mine.annotate(refunded=Exists(went_back))  # type: ignore[no-redef]
    return mine.order_by("-created_at")[:count]


def _month_after(at: datetime) -> datetime:
    first = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)


def charge_due(*, limit: int = 100, seconds: float = RUN_SECONDS) -> int:
    """Take due attempts one step on, one at a time. Returns how many have ended.

    New attempts go first. Ends after `seconds`, or when Stripe does not answer.
    """
    done = 0
    ends = time.monotonic() + seconds
    for _ in range(limit):
        attempt = QUEUE.claim() if time.monotonic() < ends else None
        if attempt is None:
            break
        try:
            done += _advance(attempt)
        except (gateway.StripeDown, gateway.PaymentsOff) as down:
            _back_off(attempt, down.message)
            break
        # No error may lose the attempt or stop the others.
        except Exception as failure:
            log.exception("top-up %s, try %s", attempt.pk, attempt.tries)
            _back_off(attempt, f"{type(failure).__name__}: {failure}")
    return done


def _back_off(attempt: TopUpAttempt, why: str) -> None:
    """Have the attempt looked at again later. The admin shows why."""
    QUEUE.retry(attempt, reason=why[:120])


def _advance(attempt: TopUpAttempt) -> bool:
    """Take a claimed attempt one step on. Returns whether it has ended."""
    try:
        intent = _left_at_stripe(attempt)
    except gateway.Missing:
        if not _is_old(attempt):
            raise
        reason = "Stripe does not know this payment"
        return topup_outcomes.end_attempt(
            attempt=attempt, status=Status.CANCELLED, reason=reason
        )
    if intent is None:
        if obstacle := _obstacle(attempt):
            return topup_outcomes.end_attempt(
                attempt=attempt, status=Status.CANCELLED, reason=obstacle
            )
        try:
            intent = gateway.charge(params=_params(attempt), key=_key(attempt))
        except (gateway.StripeRefused, gateway.Missing) as no:
            # Stripe refused the request, unless an earlier request left a payment.
            intent = _look_for(attempt)
            if intent is None:
                return _refused(attempt, no)
    return _follow(attempt, intent)


def _left_at_stripe(attempt: TopUpAttempt) -> Intent | None:
    """Return the payment that an earlier try left at Stripe, if there is one."""
    if attempt.stripe_payment_intent_id:
        return gateway.intent(intent_id=attempt.stripe_payment_intent_id)
    return _look_for(attempt) if attempt.tries > 1 else None


def _look_for(attempt: TopUpAttempt) -> Intent | None:
    """Search the customer's payments at Stripe for the payment of this attempt.

    Raises `gateway.StripeBusy` where one of them cannot be read.
    """
    since = attempt.created_at - timedelta(hours=1)
    made = gateway.intents_of_customer(customer=attempt.stripe_customer_id, since=since)
    unread = False
    for it in made:
        if isinstance(it, UnreadableObject):
            unread = True
        elif it.attempt == str(attempt.pk):
            return it
    if unread:
        # It may be the payment of this attempt: charge no card on a guess.
        raise gateway.StripeBusy("Stripe told of a payment that cannot be read.")
    return None


def _obstacle(attempt: TopUpAttempt) -> str:
    """Return why Stripe must not be asked to charge, or an empty string."""
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
    """Return the request's parameters, from the attempt's row alone.

    Stripe refuses a request that differs from an earlier one under the same key.
    """
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
    """Act on the state of the attempt's payment. Returns whether the attempt has ended.

    A worker that lost the attempt stops here: it must not cancel a payment that the
    next worker follows.
    """
    if not QUEUE.renew(attempt, stripe_payment_intent_id=intent.id):
        return False
    refusal = intent.refusal
    if intent.status not in ("succeeded", "processing", "canceled"):
        # Cancel it, so that no late payment follows the end of the attempt.
        try:
            intent = gateway.cancel_intent(intent_id=intent.id)
        except gateway.StripeRefused:
            intent = gateway.intent(intent_id=intent.id)
    if intent.status == "succeeded":
        topup_outcomes.record(intent=intent)
        return True
    if intent.status != "canceled":
        _back_off(attempt, f"Stripe says {intent.status}")
        return False
    refusal = refusal or intent.refusal
    if refusal == "authentication_required":
        return topup_outcomes.end_attempt(
            attempt=attempt, status=Status.AUTHENTICATION, reason=refusal
        )
    status = Status.DECLINED if refusal else Status.CANCELLED
    return topup_outcomes.end_attempt(
        attempt=attempt, status=status, reason=refusal or "cancelled at Stripe"
    )


def _refused(attempt: TopUpAttempt, no: DomainError) -> bool:
    """End an attempt that Stripe refused without a payment. Returns whether it did."""
    if isinstance(no, gateway.CardDeclined):
        return topup_outcomes.end_attempt(
            attempt=attempt,
            status=Status.DECLINED,
            reason=str(no.facts.get("reason") or "declined"),
        )
    ended = topup_outcomes.end_attempt(
        attempt=attempt, status=Status.CANCELLED, reason=no.message, why_off=Why.CARD
    )
    if ended:
        # Switching on again needs another card: Stripe would refuse this one again.
        TopUpRule.objects.filter(
            account=attempt.account_id,
            enabled=False,
            stripe_payment_method_id=attempt.stripe_payment_method_id,
        ).update(stripe_payment_method_id="", card="")
    return ended
