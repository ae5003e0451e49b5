"""Approvals: one person requests a large adjustment, and a second one approves it.

The approver is neither the requester nor the wallet's owner. Both need the permission
to adjust when the approval is given. A request lapses after seven days. A trigger
refuses any change of its amount, wallet or reason.
"""

from datetime import timedelta
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import NO_VISITOR, Visitor
from accounts.models import User
from focus.errors import DomainError, NotFound
from focus.money import from_micro
from wallet import adjustments, allowances, ledger
from wallet.adjustments import Adjusted
from wallet.allowances import ADJUST, ADJUST_WITHOUT_LIMIT, NotAllowed
from wallet.models import Adjustment

LAPSES_AFTER = timedelta(days=7)


class AlreadyDecided(DomainError):
    """Another person has approved or rejected this request, or it has lapsed."""

    code = "already_decided"


def request(
    *,
    owner: User,
    amount_micro: int,
    reason: Adjustment.Reason,
    note: str,
    form_id: UUID,
    staff: User,
    customer_text: str = "",
    visitor: Visitor = NO_VISITOR,
) -> Adjustment:
    """Request a second person's approval of an adjustment. Moves no credits.

    A repeat of the same form returns the first request. Raises `NotAllowed`, or
    `ledger.DuplicateKey` if the form made another request before.
    """
    allowed = allowances.allowance(staff=staff, owner=owner)
    if not allowed.may_request:
        raise NotAllowed("You may not ask for more than your limit.")
    _refuse_closed(owner)
    now = timezone.now()
    row = Adjustment(
        pk=form_id,
        account=owner,
        amount_micro=amount_micro,
        reason=reason,
        note=note,
        customer_text=customer_text,
        state=Adjustment.State.PENDING,
        requested_by=staff,
        requested_at=now,
        lapses_at=now + LAPSES_AFTER,
    )
    try:
        with transaction.atomic():
            row.save(force_insert=True)
            _record("adjustment_requested", row, staff, visitor)
    except IntegrityError as twin:
        known = Adjustment.objects.filter(pk=form_id).first()
        same = known is not None and (
            (known.account_id, known.amount_micro, known.requested_by_id)
            == (owner.pk, amount_micro, staff.pk)
        )
        if known is None or not same:
            raise ledger.DuplicateKey("This form was used before.") from twin
        return known
    return row


def approve(
    *, adjustment_id: UUID, staff: User, visitor: Visitor = NO_VISITOR
) -> Adjusted:
    """Book a pending request as it was requested.

    Locks the request's row first, so one of two concurrent approvers books it. Raises
    `NotFound`, `NotAllowed`, `AlreadyDecided`, or `ledger.InsufficientCredits`, which
    leaves the request pending.
    """
    with transaction.atomic():
        row = _waiting(adjustment_id)
        _refuse_unfit(row, staff)
        row.decided_by, row.decided_at = staff, timezone.now()
        return adjustments.book(
            row,
            key=f"adjust:{row.pk}",
            by=staff,
            visitor=visitor,
            requested_by=str(row.requested_by_id),
        )


def reject(
    *, adjustment_id: UUID, staff: User, visitor: Visitor = NO_VISITOR
) -> Adjustment:
    """Reject a pending request as an approver, or withdraw it as its requester.

    Raises `NotFound`, `NotAllowed` or `AlreadyDecided`.
    """
    with transaction.atomic():
        row = _waiting(adjustment_id)
        withdrawn = row.requested_by_id == staff.pk
        if not withdrawn:
            _refuse_approver(row, staff)
        row.state = Adjustment.State.REJECTED
        row.decided_by, row.decided_at = staff, timezone.now()
        row.save()
        kind = "adjustment_withdrawn" if withdrawn else "adjustment_rejected"
        _record(kind, row, staff, visitor)
    return row


def may_approve(*, row: Adjustment, staff: User) -> bool:
    """Return whether `staff` may approve the request now."""
    try:
        _refuse_approver(row, staff)
    except NotAllowed:
        return False
    return row.state == Adjustment.State.PENDING and not row.lapsed


def _waiting(adjustment_id: UUID) -> Adjustment:
    row = (
        Adjustment.objects.select_for_update(of=("self",))
        .select_related("account", "requested_by")
        .filter(pk=adjustment_id)
        .first()
    )
    if row is None:
        raise NotFound("There is no such request.")
    if row.state != Adjustment.State.PENDING:
        raise AlreadyDecided(f"This request is {row.get_state_display().lower()}.")
    if row.lapsed:
        raise AlreadyDecided("This request has lapsed. Ask for it anew.")
    return row


def _refuse_unfit(row: Adjustment, staff: User) -> None:
    _refuse_approver(row, staff)
    _refuse_closed(row.account)
    # The requester may have left since: closed the account, lost the permission or
    # `is_staff`. Permissions outlive `is_staff`, which the staff site checks.
    requester = row.requested_by
    if (
        requester is None
        or not requester.is_staff
        or not requester.has_perms([ADJUST, ADJUST_WITHOUT_LIMIT])
    ):
        raise NotAllowed("The requester may not adjust credits any more.")


def _refuse_approver(row: Adjustment, staff: User) -> None:
    if not staff.has_perms([ADJUST, ADJUST_WITHOUT_LIMIT]):
        raise NotAllowed("You may not approve adjustments.")
    if staff.pk == row.requested_by_id:
        raise NotAllowed("You asked for this yourself: another person must approve it.")
    if staff.pk == row.account_id:
        raise NotAllowed("You may not approve an adjustment of your own wallet.")


def _refuse_closed(owner: User) -> None:
    if not owner.is_active:
        raise NotAllowed("The wallet's account is closed. Reopen it first.")


def _record(kind: str, row: Adjustment, staff: User, visitor: Visitor) -> None:
    audit.record(
        kind,
        user=row.account,
        actor=str(staff),
        visitor=visitor,
        staff_id=str(staff.pk),
        adjustment=str(row.pk),
        amount=str(from_micro(row.amount_micro)),
        reason=str(row.reason),
        note=row.note,
    )
