"""The owner's rule for automatic top-up: consent, saved card, and switching it off.

The rule is off until its owner switches it on. The card comes from a checkout of the
pack that the owner pays in person, so the bank can ask for a confirmation then.
`payments.topups.charging` charges the card.
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
# The least time between the starts of two attempts, whether or not the first succeeded.
COOL_DOWN = timedelta(minutes=10)
# How many cards one run handles.
AT_ONCE = 20
# The time limit for cards in a run, because charges of the same run wait for it.
KEEP_SECONDS = 5
# Failures that do not depend on the card: they end the run.
ASK_LATER = (gateway.StripeDown, gateway.PaymentsOff)
HIGHEST_THRESHOLD = 1_000_000
HIGHEST_CEILING_CENTS = 99_999_999


class BadTopUp(DomainError):
    """The threshold or the monthly limit is out of range."""

    code = "invalid_top_up"


class NoConsent(DomainError):
    """The user has not allowed us to save their card."""

    code = "consent_required"


def rule_of(*, account: User) -> TopUpRule | None:
    """Return the rule that the account's current owner set, if there is one."""
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
    """Set the rule: buy the pack whenever fewer than `threshold` credits are left.

    `ceiling_cents` is the limit of a calendar month (UTC). With a saved card the rule
    is on at once, and the result is None. Otherwise the result is a checkout of the
    pack: its payment saves the card, given `consent`, and switches the rule on. Locks
    the rule. Calls Stripe, so no transaction may be open. Raises `BadTopUp`,
    `NoConsent`, `packs.UnknownPack` and the gateway's refusals.
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
    """Delete the card of the account's previous owner."""
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
    """Enable a rule. The back-off of a decline stays, unless the rule was off."""
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
    """Switch the account's rule off, so that no further attempt begins.

    A charge that Stripe already has is not cancelled. Locks the rule.
    """
    with transaction.atomic():
        rules = TopUpRule.objects.select_for_update(no_key=True)
        rule = rules.filter(account=account).first()
        if rule is not None:
            disable(rule, why)
            _audit("top_up_switched_off", rule, actor=actor, visitor=visitor)


def disable(rule: TopUpRule, why: str) -> None:
    """Write a rule as off. The caller has locked its row."""
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
    """Switch the rule off, and delete the card here and at Stripe. Calls Stripe."""
    switch_off(account=account, why=why, actor=actor, visitor=visitor)
    rule = TopUpRule.objects.filter(account=account).first()
    if rule is None or not rule.stripe_payment_method_id:
        return
    _forget_at_stripe(rule.stripe_payment_method_id)
    TopUpRule.objects.filter(
        pk=rule.pk, stripe_payment_method_id=rule.stripe_payment_method_id
    ).update(stripe_payment_method_id="", card="", enabled=False)


def _forget_at_stripe(payment_method: str) -> None:
    # A retry after a crash finds the card deleted, which Stripe refuses.
    with suppress(gateway.StripeRefused, gateway.Missing):
        gateway.detach_card(payment_method=payment_method)


def save_cards() -> int:
    """Save the cards of paid checkouts, and switch their rules on.

    Returns how many cards. Calls Stripe.
    """
    sweep, saved = Sweep("payments.keep_cards"), 0
    paid = TopUpRule.objects.filter(saving__status=Purchase.Status.PAID)
    rules = _longest_unseen(paid.exclude(pk__in=sweep.backing_off))
    ends = time.monotonic() + KEEP_SECONDS
    for rule in rules:
        if time.monotonic() > ends:
            break
        with sweep.each(rule.pk, ends=ASK_LATER):
            saved += _save_card_or_give_up(rule)
    sweep.end(complete=len(rules) < AT_ONCE and time.monotonic() <= ends)
    return saved


def _longest_unseen(rules: QuerySet[TopUpRule]) -> list[TopUpRule]:
    """Return the rules that were seen longest ago, and mark them as seen.

    A rule that cannot be handled therefore does not block the others.
    """
    oldest_first = F("looked_at").asc(nulls_first=True)
    found = list(rules.order_by(oldest_first, "pk")[:AT_ONCE])
    seen = TopUpRule.objects.filter(pk__in=[rule.pk for rule in found])
    seen.update(looked_at=timezone.now())
    return found


def _save_card_or_give_up(rule: TopUpRule) -> bool:
    try:
        return _save_card(rule)
    except (gateway.Missing, gateway.StripeRefused) as gone:
        log.warning("no card for %s: %s", rule, gone.message)
        TopUpRule.objects.filter(pk=rule.pk, saving=rule.saving_id).update(saving=None)
        return False


def _save_card(rule: TopUpRule) -> bool:
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
                # From the consent on, so that a refund of this payment counts too.
                _switch_on(row, row.consented_at)
        row.save()
        _audit("top_up_card_saved", row)
    if card and before and before != row.stripe_payment_method_id:
        _forget_at_stripe(before)
    return True


def forget_unowned_cards() -> int:
    """Delete the cards of accounts that were closed or have a new owner.

    Returns how many. Calls Stripe.
    """
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
