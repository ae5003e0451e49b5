"""Automatic top-up as its owner sets it: off until they say so, with a card that they
let us keep. What is charged by it is `payments.topups.outcomes`' subject.

The card comes from a checkout of the pack that the person goes through themselves:
their bank asks what it has to ask while they are there.
"""

import logging
import time
from contextlib import suppress
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from accounts import audit
from accounts.audit import NO_VISITOR, Visitor
from accounts.models import User
from focus.background.sweeps import Sweep
from focus.errors import DomainError
from focus.money import MICRO
from payments import gateway, packs
from payments.models import Customer, Payment, Purchase, TopUpAttempt, TopUpRule
from payments.packs import PackCheckout

log = logging.getLogger(__name__)

Why = TopUpRule.Why
# Between the beginnings of two attempts, whatever became of the first.
COOL_DOWN = timedelta(minutes=10)
# How many cards one run looks after.
AT_ONCE = 20
# The charges of the same run must not wait for them any longer.
KEEP_SECONDS = 5
# Of no card in particular.
ASK_LATER = (gateway.StripeDown, gateway.PaymentsOff)
HIGHEST_THRESHOLD = 1_000_000
HIGHEST_CEILING_CENTS = 99_999_999


class BadTopUp(DomainError):
    """A setting that cannot be."""

    code = "invalid_top_up"


class NoConsent(DomainError):
    """The person has not allowed us to keep their card."""

    code = "consent_required"


def rule_of(*, account: User) -> TopUpRule | None:
    """The person's setting, if they ever made one."""
    rules = TopUpRule.objects.filter(account=account, epoch=account.epoch)
    return rules.select_related("pack", "saving").first()


def set_up(
    *,
    account: User,
    sku: str,
    threshold: int,
    ceiling_cents: int,
    consent: bool,
    once: bytes | None,
    another_card: bool = False,
    visitor: Visitor = NO_VISITOR,
) -> PackCheckout | None:
    """Buy the pack whenever fewer than `threshold` credits are left, for at most
    `ceiling_cents` a calendar month (UTC).

    With a card saved before it is on at once, and the answer is None. Else the answer
    is where to buy the pack now; the card of that payment is kept, if `consent`, and
    paying switches it on. Asks Stripe, so no transaction may be open. Raises
    `BadTopUp`, `NoConsent`, `packs.UnknownPack` and the gateway's refusals.
    """
    pack = packs.on_sale().filter(sku=sku).first()
    if pack is None:
        raise packs.UnknownPack("There is no such pack.")
    if not 1 <= threshold <= HIGHEST_THRESHOLD:
        raise BadTopUp(f"The threshold is 1 to {HIGHEST_THRESHOLD:,} credits.")
    if not pack.price_cents <= ceiling_cents <= HIGHEST_CEILING_CENTS:
        raise BadTopUp(
            f"The monthly limit must allow at least one pack of {pack.price_dollars}."
        )
    _forget_previous_owners_card(account, visitor)
    now = timezone.now()
    agreed: dict[str, object] = {
        "pack": pack,
        "threshold_micro": threshold * MICRO,
        "credits_micro": pack.credits * MICRO,
        "price_cents": pack.price_cents,
        "ceiling_cents": ceiling_cents,
    }
    with transaction.atomic():
        TopUpRule.objects.get_or_create(account=account, defaults=agreed)
        rule = TopUpRule.objects.select_for_update(no_key=True).get(account=account)
        has_card = rule.stripe_payment_method_id and rule.epoch == account.epoch
        buys = another_card or not has_card
        if buys and not consent:
            raise NoConsent("Tick the box that lets us keep your card for this.")
        for name, value in agreed.items():
            setattr(rule, name, value)
        rule.changed_at = now
        purchase = None
        if buys:
            purchase = _begin_saving_card(rule, account, sku, once, now)
        else:
            _switch_on(rule, now)
        rule.save()
        _audit("top_up_set", rule, visitor=visitor)
    return packs.open_checkout(purchase=purchase) if purchase else None


def _forget_previous_owners_card(account: User, visitor: Visitor) -> None:
    """The card of whoever had the account before it changed hands."""
    theirs = TopUpRule.objects.filter(account=account).exclude(epoch=account.epoch)
    if theirs.exclude(stripe_payment_method_id="", enabled=False).exists():
        forget_card(account=account, why=Why.ACCOUNT, visitor=visitor)


def _begin_saving_card(
    rule: TopUpRule, account: User, sku: str, once: bytes | None, now: datetime
) -> Purchase:
    purchase = packs.begin_purchase(
        account=account, sku=sku, once=once, saves_card=True
    )
    rule.epoch = account.epoch
    rule.saving = purchase
    rule.consented_at = now
    if not rule.enabled:
        rule.off_because = Why.NEVER
    return purchase


def _switch_on(rule: TopUpRule, at: datetime) -> None:
    """What a decline has put off stays off for as long, unless it had ended it."""
    last = TopUpAttempt.objects.filter(account=rule.account_id)
    begun = last.order_by("-created_at").values_list("created_at", flat=True).first()
    if not rule.enabled:
        rule.declines = 0
        rule.switched_on_at = at
    if not rule.declines:
        rule.not_before = begun + COOL_DOWN if begun else at
    rule.enabled, rule.off_because = True, ""


def switch_off(
    *,
    account: User,
    why: str = Why.PERSON,
    actor: str = "",
    visitor: Visitor = NO_VISITOR,
) -> None:
    """No more attempts begin. One that Stripe has already is not called back."""
    with transaction.atomic():
        rules = TopUpRule.objects.select_for_update(no_key=True)
        rule = rules.filter(account=account).first()
        if rule is not None:
            disable(rule, why)
            _audit("top_up_switched_off", rule, actor=actor, visitor=visitor)


def disable(rule: TopUpRule, why: str) -> None:
    """Switch off a rule whose row the caller has locked."""
    rule.enabled, rule.off_because = False, why
    rule.changed_at = timezone.now()
    rule.save(update_fields=["enabled", "off_because", "changed_at"])


def forget_card(
    *,
    account: User,
    why: str = Why.PERSON,
    actor: str = "",
    visitor: Visitor = NO_VISITOR,
) -> None:
    """Switch off, and keep the card no more, here or at Stripe. Asks Stripe."""
    switch_off(account=account, why=why, actor=actor, visitor=visitor)
    rule = TopUpRule.objects.filter(account=account).first()
    if rule is None or not rule.stripe_payment_method_id:
        return
    _forget_at_stripe(rule.stripe_payment_method_id)
    TopUpRule.objects.filter(
        pk=rule.pk, stripe_payment_method_id=rule.stripe_payment_method_id
    ).update(stripe_payment_method_id="", card="", enabled=False)


def _forget_at_stripe(payment_method: str) -> None:
    # Who asks again, after a crash, finds that it is forgotten.
    with suppress(gateway.StripeRefused, gateway.Missing):
        gateway.detach_card(payment_method=payment_method)


def save_cards() -> int:
    """Keep the cards of checkouts that are paid, and switch on what they were for.
    Returns how many. Asks Stripe.
    """
    sweep, kept = Sweep("payments.keep_cards"), 0
    paid = TopUpRule.objects.filter(saving__status=Purchase.Status.PAID)
    rules = _longest_unseen(paid.exclude(pk__in=sweep.backing_off))
    ends = time.monotonic() + KEEP_SECONDS
    for rule in rules:
        if time.monotonic() > ends:
            break
        with sweep.each(rule.pk, ends=ASK_LATER):
            kept += _kept(rule)
    sweep.end(complete=len(rules) < AT_ONCE and time.monotonic() <= ends)
    return kept


def _longest_unseen(rules: QuerySet[TopUpRule]) -> list[TopUpRule]:
    """A part of them: one that stays as it is gives way to the others."""
    oldest_first = F("looked_at").asc(nulls_first=True)
    found = list(rules.order_by(oldest_first, "pk")[:AT_ONCE])
    seen = TopUpRule.objects.filter(pk__in=[rule.pk for rule in found])
    seen.update(looked_at=timezone.now())
    return found


def _kept(rule: TopUpRule) -> bool:
    try:
        return _keep_card(rule)
    except (gateway.Missing, gateway.StripeRefused) as gone:
        log.warning("no card for %s: %s", rule, gone.message)
        TopUpRule.objects.filter(pk=rule.pk, saving=rule.saving_id).update(saving=None)
        return False


def _keep_card(rule: TopUpRule) -> bool:
    paid = Payment.objects.filter(purchase=rule.saving_id).order_by("paid_at")
    payment = paid.first()
    intent = payment and payment.stripe_payment_intent_id
    if not intent:
        return False
    stands = gateway.intent(intent_id=intent)
    card = ""
    customer = Customer.objects.filter(account=rule.account_id).first()
    ours = customer is not None and stands.customer == customer.stripe_customer_id
    if stands.payment_method and ours:
        card = gateway.card_label(payment_method=stands.payment_method)
    with transaction.atomic():
        rules = TopUpRule.objects.select_for_update(no_key=True)
        row = rules.filter(pk=rule.pk, saving=rule.saving_id).first()
        if row is None:
            return False
        before, row.saving = row.stripe_payment_method_id, None
        if card:
            row.stripe_payment_method_id = str(stands.payment_method)
            row.card = card
            if row.off_because == Why.NEVER and row.consented_at:
                # From the consent on: a refund of this very payment counts too.
                _switch_on(row, row.consented_at)
        row.save()
        _audit("top_up_card_saved", row)
    if card and before and before != row.stripe_payment_method_id:
        _forget_at_stripe(before)
    return True


def forget_unowned_cards() -> int:
    """Forget the cards of accounts that were closed or changed hands. Asks Stripe."""
    gone = Q(account__is_active=False) | ~Q(account__epoch=F("epoch"))
    kept = Q(enabled=True) | ~Q(stripe_payment_method_id="")
    sweep, done = Sweep("payments.retire_top_ups"), 0
    rules = TopUpRule.objects.filter(gone & kept).select_related("account")
    some = _longest_unseen(rules.exclude(pk__in=sweep.backing_off))
    for rule in some:
        with sweep.each(rule.pk, ends=ASK_LATER):
            forget_card(account=rule.account, why=Why.ACCOUNT, actor="system:top-up")
            done += 1
    sweep.end(complete=len(some) < AT_ONCE)
    return done


def _audit(
    kind: str, rule: TopUpRule, *, actor: str = "", visitor: Visitor = NO_VISITOR
) -> None:
    audit.record(
        kind,
        user=rule.account,
        actor=actor,
        visitor=visitor,
        enabled=rule.enabled,
        pack=rule.pack.sku,
        threshold=rule.threshold_micro // MICRO,
        ceiling_cents=rule.ceiling_cents,
    )
