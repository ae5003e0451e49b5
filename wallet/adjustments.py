"""Staff's acts on a wallet: adjust its credits, set its overdraft limit, open it.

The functions check permissions and limits themselves, so no door can skip the check.
Each act writes its audit event in the same transaction.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import NO_VISITOR, Visitor
from accounts.models import User
from focus.money import NotAnAmount, from_micro, to_micro
from wallet import allowances, ledger, statements
from wallet.allowances import (
    ADJUST,
    ADJUST_WITHOUT_LIMIT,
    SET_OVERDRAFT_LIMIT,
    AboveLimit,
    NeedsApproval,
    NotAllowed,
)
from wallet.ledger import Balance
from wallet.models import Adjustment, Entry, Grant, Wallet

__all__ = [
    "ADJUST",
    "ADJUST_WITHOUT_LIMIT",
    "SET_OVERDRAFT_LIMIT",
    "AboveLimit",
    "Adjusted",
    "NeedsApproval",
    "NotAllowed",
    "Preview",
    "Reason",
    "Share",
    "adjust",
    "adjust_from_shell",
    "book",
    "find_booked",
    "open_wallet",
    "preview",
    "read_amount",
    "read_credits",
    "set_overdraft_limit",
]

_PLAIN_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)", re.ASCII)


Reason = Adjustment.Reason


@dataclass(frozen=True)
class Share:
    """The part of an adjustment that comes from one grant."""

    grant: Grant
    amount_micro: int


@dataclass(frozen=True)
class Preview:
    """The effect of an adjustment that would be booked now. It moves no credits.

    If `missing_micro` is above 0, the wallet lacks that much, and `adjust` refuses.
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
    """A booked adjustment; `created` is false if an earlier call booked it.

    `before_micro` and `after_micro` are the balance before and after the movement.
    """

    movement_id: UUID
    wallet_id: int
    amount_micro: int
    before_micro: int
    after_micro: int
    created: bool


def read_credits(text: str) -> int:
    """Return the exact micro-credits of a typed number. Raises `NotAnAmount`."""
    typed = text.strip()
    if len(typed) > 40 or not _PLAIN_NUMBER.fullmatch(typed):
        raise NotAnAmount("must be a number such as 5, -2.5 or 0.01.")
    return to_micro(Decimal(typed))


def read_amount(text: str) -> int:
    """Return the micro-credits of a typed amount. Refuses 0 with `NotAnAmount`."""
    micro = read_credits(text)
    if micro == 0:
        raise NotAnAmount("must not be 0.")
    return micro


def preview(*, account_id: UUID, amount_micro: int) -> Preview:
    """Return what `adjust` would do now. A movement in between may change that."""
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
    customer_text: str = "",
    visitor: Visitor = NO_VISITOR,
) -> Adjusted:
    """Give credits, or take them (a negative amount), once per form.

    A repeat of the form returns the first adjustment. `note` is for staff,
    `customer_text` for the wallet's owner. Locks the row of `staff`, so that concurrent
    adjustments cannot exceed the limit together. Raises `NotAllowed`, `AboveLimit`,
    `NeedsApproval`, `ledger.InsufficientCredits`, or `ledger.DuplicateKey` if the form
    has moved another wallet's credits.
    """
    with transaction.atomic():
        allowances.lock_staff(staff)
        allowed = allowances.allowance(staff=staff, owner=owner)
        if (known := find_booked(owner, f"adjust:{form_id}")) is not None:
            return known
        if abs(amount_micro) > allowed.left_micro:
            raise allowances.limit_refusal(allowed)
        return book(
            Adjustment(
                pk=form_id,
                account=owner,
                amount_micro=amount_micro,
                reason=reason,
                note=note,
                customer_text=customer_text,
                requested_by=staff,
                requested_at=timezone.now(),
            ),
            key=f"adjust:{form_id}",
            by=staff,
            visitor=visitor,
        )


def adjust_from_shell(
    *,
    owner: User,
    amount_micro: int,
    reason: str,
    key: str,
    login: str,
    customer_text: str = "",
) -> Adjusted:
    """Adjust credits from a command on the server, without a limit or an approval.

    The audit names the shell and its login.
    """
    if (known := find_booked(owner, key)) is not None:
        return known
    return book(
        Adjustment(
            account=owner,
            amount_micro=amount_micro,
            reason=Reason.OTHER,
            note=reason[:400],
            customer_text=customer_text,
            shell=login[:120],
            requested_at=timezone.now(),
        ),
        key=key,
        by=None,
        visitor=NO_VISITOR,
    )


def set_overdraft_limit(
    *,
    wallet: Wallet,
    limit_micro: int,
    note: str,
    staff: User,
    visitor: Visitor = NO_VISITOR,
) -> int:
    """Set how much debt apps with the policy `overflow` may cause in a wallet.

    Returns the previous limit. A debt above the limit stays, and cannot grow. Raises
    `NotAllowed`.
    """
    if not staff.has_perm(SET_OVERDRAFT_LIMIT):
        raise NotAllowed("You may not set overdraft limits.")
    if staff.pk == wallet.account_id:
        raise NotAllowed("You may not set the overdraft limit of your own wallet.")
    if limit_micro > (most := to_micro(settings.STAFF_APPROVAL_ABOVE_CREDITS)):
        # Debt is spent credits, so one person's limit for credits holds for it too.
        raise NotAllowed(f"An overdraft limit is at most {from_micro(most):,} credits.")
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


def open_wallet(*, owner: User, staff: User, visitor: Visitor = NO_VISITOR) -> Wallet:
    """Return the account's wallet, and create it if it does not exist yet."""
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


def book(
    row: Adjustment, *, key: str, by: User | None, visitor: Visitor, **facts: str
) -> Adjusted:
    """Move the credits, save the row and write the audit event in one transaction.

    `by` is the acting person: the requester, or the approver of a request; None means
    the shell. A repeated key returns the first adjustment.
    """
    shell = f"shell:{row.shell}"
    # A domain login is an address, which no entry may keep; the audit has all of it.
    login = row.shell.partition("@")[0][:100]
    requester = row.requested_by
    if by is not None:
        facts["staff_id"] = str(by.pk)
    try:
        with transaction.atomic():
            moved = ledger.adjust(
                account_id=row.account_id,
                amount_micro=row.amount_micro,
                actor=f"staff:{requester.pk}" if requester else f"shell:{login}",
                # A code. The free text stays in the row, where it can be erased.
                reason=str(row.reason) if requester else row.note,
                key=key,
            )
            if not moved.created:
                if (known := find_booked(row.account, key)) is not None:
                    return known
                raise _used_elsewhere()
            after = moved.balance.credits_micro
            wallet = Wallet.objects.only("pk").get(account=row.account)
            row.state = Adjustment.State.BOOKED
            row.movement_id = moved.movement_id
            row.save()
            audit.record(
                "credits_adjusted",
                user=row.account,
                actor=str(by) if by else shell,
                visitor=visitor,
                wallet=wallet.pk,
                amount=str(from_micro(row.amount_micro)),
                movement_id=str(moved.movement_id),
                adjustment=str(row.pk),
                reason=str(row.reason),
                note=row.note,
                **facts,
            )
    except (IntegrityError, ledger.DuplicateKey) as twin:
        raise _used_elsewhere() from twin
    before = after - row.amount_micro
    return Adjusted(moved.movement_id, wallet.pk, row.amount_micro, before, after, True)


def find_booked(owner: User, key: str) -> Adjusted | None:
    """Return the adjustment that the key booked before, or None.

    A grant and its repayment of debt count as one adjustment. Raises
    `ledger.DuplicateKey` if the key moved another account's credits.
    """
    first = Entry.objects.select_related("wallet").filter(key=key).first()
    if first is None:
        return None
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
