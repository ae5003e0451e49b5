"""What staff may do to a wallet: adjust it, with a reason, once per form, on record.

Who may, and how much, is decided here, so no door can forget to ask. Each act writes
its line of the audit in the same transaction.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, models, transaction

from accounts import audit
from accounts.audit import NOBODY, Visitor
from accounts.models import User
from focus.errors import DomainError
from focus.money import NotAnAmount, from_micro, to_micro
from wallet import ledger, statements
from wallet.ledger import Balance
from wallet.models import Entry, Grant, Wallet

ADJUST = "wallet.adjust_wallet"
ADJUST_WITHOUT_LIMIT = "wallet.adjust_without_limit"
SET_OVERDRAFT_LIMIT = "wallet.set_overdraft_limit"

_PLAIN_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)", re.ASCII)


class Reason(models.TextChoices):
    GOODWILL = "goodwill", "Goodwill"
    BILLING_ERROR = "billing_error", "Billing error"
    REFUND = "refund", "Refund"
    FRAUD = "fraud", "Fraud"
    CORRECTION = "correction", "Correction"
    PROMOTION = "promotion", "Promotion"
    OTHER = "other", "Other"


class NotAllowed(DomainError):
    """This member of staff may not do this."""

    code = "not_allowed"


class AboveLimit(DomainError):
    """More than this member of staff may move at once. Facts: `limit` in credits."""

    code = "above_limit"


@dataclass(frozen=True)
class Share:
    """How much of an adjustment one grant would pay."""

    grant: Grant
    amount_micro: int


@dataclass(frozen=True)
class Preview:
    """What an adjustment would do if it were booked now. Nothing has moved.

    `missing_micro` is what a taking lacks; then it would be refused.
    """

    before: Balance
    amount_micro: int
    repaid_micro: int
    shares: list[Share]
    missing_micro: int

    @property
    def after_micro(self) -> int:
        return self.before.credits_micro + self.amount_micro


@dataclass(frozen=True)
class Adjusted:
    """What was booked, by this call or (`created` false) by an earlier one.

    `before_micro` and `after_micro` are the balance on both sides of the movement.
    """

    movement_id: UUID
    wallet_id: int
    amount_micro: int
    before_micro: int
    after_micro: int
    created: bool


def read_credits(text: str) -> int:
    """Micro-credits of a number as people type it, exactly. Raises `NotAnAmount`."""
    typed = text.strip()
    if len(typed) > 40 or not _PLAIN_NUMBER.fullmatch(typed):
        raise NotAnAmount("must be a number such as 5, -2.5 or 0.01.")
    return to_micro(Decimal(typed))


def read_amount(text: str) -> int:
    """The same, for an amount that is to move: never 0."""
    micro = read_credits(text)
    if micro == 0:
        raise NotAnAmount("must not be 0.")
    return micro


def limit_micro(staff: User) -> int | None:
    """The most this person may move at once; None for as much as they like.

    Raises `NotAllowed` where they may not adjust at all.
    """
    if not staff.has_perm(ADJUST):
        raise NotAllowed("You may not adjust credits.")
    if staff.has_perm(ADJUST_WITHOUT_LIMIT):
        return None
    return to_micro(settings.STAFF_ADJUST_LIMIT_CREDITS)


def preview(*, account_id: UUID, amount_micro: int) -> Preview:
    """What `adjust` would do now. Another movement may change that until then."""
    before = ledger.balance(account_id=account_id)
    wallet = Wallet.objects.filter(account_id=account_id).first()
    if amount_micro > 0:
        repaid = min(amount_micro, before.debt_micro)
        return Preview(before, amount_micro, repaid, [], 0)
    need = -amount_micro
    missing = max(0, need - max(0, before.credits_micro))
    shares = []
    for left in statements.grants_left(wallet=wallet) if wallet else []:
        part = 0 if left.expired else min(need, left.left_micro)
        if part and not missing:
            shares.append(Share(left.grant, part))
            need -= part
    return Preview(before, amount_micro, 0, shares, missing)


def adjust(
    *,
    owner: User,
    amount_micro: int,
    reason: Reason,
    note: str,
    form_id: UUID,
    staff: User,
    visitor: Visitor = NOBODY,
) -> Adjusted:
    """Give (or take, below zero) credits, once per form however often it is sent.

    Raises `NotAllowed`, `AboveLimit`, `ledger.InsufficientCredits`, or
    `ledger.DuplicateKey` where the form has moved another wallet.
    """
    limit = limit_micro(staff)
    if limit is not None and abs(amount_micro) > limit:
        raise AboveLimit(
            f"You may adjust by at most {from_micro(limit):,} credits at once.",
            limit=from_micro(limit),
        )
    return _book(
        owner,
        amount_micro,
        actor=f"staff:{staff.pk}",
        reason=f"{reason}: {note}",
        key=f"adjust:{form_id}",
        by=str(staff),
        visitor=visitor,
        facts={"staff_id": str(staff.pk), "reason": str(reason), "note": note},
    )


def adjust_from_shell(
    *, owner: User, amount_micro: int, reason: str, key: str, login: str
) -> Adjusted:
    """The same for whoever may run commands on the server; without a limit."""
    actor = f"shell:{login}"
    return _book(
        owner,
        amount_micro,
        actor=actor,
        reason=reason,
        key=key,
        by=actor,
        visitor=NOBODY,
        facts={"note": reason},
    )


def set_overdraft_limit(
    *,
    wallet: Wallet,
    limit_micro: int,
    note: str,
    staff: User,
    visitor: Visitor = NOBODY,
) -> int:
    """Say how deep apps with the policy `overflow` may take a wallet.

    Returns the limit before. A deeper debt stays, and is not added to. Raises
    `NotAllowed`.
    """
    if not staff.has_perm(SET_OVERDRAFT_LIMIT):
        raise NotAllowed("You may not set overdraft limits.")
    with transaction.atomic():
        old = ledger.set_overdraft_limit(
            account_id=wallet.account_id,
            limit_micro=limit_micro,
            actor=f"staff:{staff.pk}",
        )
        if old != limit_micro:
            audit.record(
                "overdraft_limit_set",
                user=wallet.account,
                actor=str(staff),
                visitor=visitor,
                staff_id=str(staff.pk),
                wallet=wallet.pk,
                limit=str(from_micro(limit_micro)),
                limit_before=str(from_micro(old)),
                note=note,
            )
    return old


def open_wallet(*, owner: User, staff: User, visitor: Visitor = NOBODY) -> Wallet:
    """The account's wallet, made now if nothing has been booked in it yet."""
    if not staff.has_perm(ADJUST):
        raise NotAllowed("You may not open wallets.")
    with transaction.atomic():
        known = Wallet.objects.filter(account=owner).first()
        if known is not None:
            return known
        ledger.expire(account_id=owner.pk)
        wallet = Wallet.objects.get(account=owner)
        audit.record(
            "wallet_opened",
            user=owner,
            actor=str(staff),
            visitor=visitor,
            staff_id=str(staff.pk),
            wallet=wallet.pk,
        )
    return wallet


def _book(
    owner: User,
    amount_micro: int,
    *,
    actor: str,
    reason: str,
    key: str,
    by: str,
    visitor: Visitor,
    facts: dict[str, str],
) -> Adjusted:
    try:
        with transaction.atomic():
            moved = ledger.adjust(
                account_id=owner.pk,
                amount_micro=amount_micro,
                actor=actor,
                reason=reason,
                key=key,
            )
            if not moved.created:
                return _as_booked(owner, key)
            after = moved.balance.credits_micro
            wallet = Wallet.objects.only("pk").get(account=owner)
            audit.record(
                "credits_adjusted",
                user=owner,
                actor=by,
                visitor=visitor,
                wallet=wallet.pk,
                amount=str(from_micro(amount_micro)),
                movement_id=str(moved.movement_id),
                **facts,
            )
    except (IntegrityError, ledger.DuplicateKey) as twin:
        raise _used_elsewhere() from twin
    return Adjusted(
        moved.movement_id, wallet.pk, amount_micro, after - amount_micro, after, True
    )


def _as_booked(owner: User, key: str) -> Adjusted:
    """What the key moved the first time. Adding to debt and grants are one effect."""
    first = Entry.objects.select_related("wallet").get(key=key)
    if first.wallet.account_id != owner.pk:
        raise _used_elsewhere()
    taken = first.kind == Entry.Kind.ADJUST
    amount = -first.amount_micro if taken else first.amount_micro
    last = (
        Entry.objects.filter(wallet=first.wallet, movement_id=first.movement_id)
        .order_by("-seq")
        .first()
    ) or first
    after = last.available_after - last.debt_after
    return Adjusted(
        first.movement_id, first.wallet_id, amount, after - amount, after, False
    )


def _used_elsewhere() -> ledger.DuplicateKey:
    return ledger.DuplicateKey("This was used for another account before.")
