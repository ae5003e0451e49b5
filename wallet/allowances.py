"""How many credits one member of staff may adjust alone.

The limit counts the adjustments of the last 24 hours in all wallets, so many small ones
do not bypass it. Adjustments that a second person approved do not count.
"""

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db.models import Sum
from django.db.models.functions import Abs
from django.utils import timezone

from accounts.models import User
from focus.errors import DomainError
from focus.money import from_micro, to_micro
from wallet.models import Adjustment

ADJUST = "wallet.adjust_wallet"
ADJUST_WITHOUT_LIMIT = "wallet.adjust_without_limit"
SET_OVERDRAFT_LIMIT = "wallet.set_overdraft_limit"

# The window of the limit. A sliding window has no midnight at which a limit doubles.
DAY = timedelta(hours=24)


class NotAllowed(DomainError):
    """This member of staff lacks the permission."""

    code = "not_allowed"


class AboveLimit(DomainError):
    """More than this member of staff may adjust in a day. Facts: `limit`, `left`."""

    code = "above_limit"


class NeedsApproval(DomainError):
    """More than one person may adjust alone in a day. Facts: `limit`, `left`.

    `wallet.approvals.request` asks for a second person.
    """

    code = "needs_approval"


@dataclass(frozen=True)
class Allowance:
    """A member of staff's limit for 24 hours, and the rest of it, in micro-credits.

    `may_request` says whether they may request a second person's approval beyond it.
    """

    limit_micro: int
    left_micro: int
    may_request: bool


def allowance(*, staff: User, owner: User) -> Allowance:
    """Return how much `staff` may still adjust alone in the wallet of `owner`.

    Given and taken credits both count. Raises `NotAllowed` if `staff` may not adjust
    that wallet at all.
    """
    if not staff.has_perm(ADJUST):
        raise NotAllowed("You may not adjust credits.")
    if staff.pk == owner.pk:
        raise NotAllowed("You may not adjust your own wallet.")
    limit = to_micro(settings.STAFF_APPROVAL_ABOVE_CREDITS)
    may_request = staff.has_perm(ADJUST_WITHOUT_LIMIT)
    if not may_request:
        limit = min(limit, to_micro(settings.STAFF_ADJUST_LIMIT_CREDITS))
    alone = Adjustment.objects.filter(
        requested_by=staff,
        requested_at__gt=timezone.now() - DAY,
        state=Adjustment.State.BOOKED,
        decided_by=None,
    )
    used = alone.aggregate(sum=Sum(Abs("amount_micro")))["sum"] or 0
    return Allowance(limit, max(0, limit - int(used)), may_request)


def lock_staff(staff: User) -> None:
    """Lock the row of `staff`, so that their adjustments run one at a time.

    Lock order: take this lock before any wallet's.
    """
    User.objects.select_for_update(no_key=True).only("pk").get(pk=staff.pk)


def limit_refusal(allowed: Allowance) -> DomainError:
    """Return the refusal of an amount above the limit, with the next step."""
    kind = NeedsApproval if allowed.may_request else AboveLimit
    limit, left = from_micro(allowed.limit_micro), from_micro(allowed.left_micro)
    limit_text = f"You may adjust at most {limit:,} credits in 24 hours by yourself"
    more = "More needs a second person's approval."
    if not allowed.may_request:
        more = "Ask finance for more."
    return kind(f"{limit_text}, and {left:,} are left. {more}", limit=limit, left=left)
