"""How much one member of staff may move alone.

Gifts and takings of the last 24 hours are added up over all wallets, so
that many small adjustments are no way around a limit. What a second person approved is
not counted.
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

# What staff moved within this counts towards their limits. It has no midnight at which
# a limit would be doubled.
DAY = timedelta(hours=24)


class NotAllowed(DomainError):
    """This member of staff may not do this."""

    code = "not_allowed"


class AboveLimit(DomainError):
    """More than this member of staff may move in a day. Facts: `limit`, `left`."""

    code = "above_limit"


class NeedsApproval(DomainError):
    """More than one person may move alone in a day. Facts: `limit`, `left`.

    `wallet.approvals.request` asks for a second person.
    """

    code = "needs_approval"


@dataclass(frozen=True)
class Allowance:
    """What a member of staff may move alone in 24 hours, and what is left of it.

    Beyond it, `may_request` says whether a second person's approval helps.
    """

    limit_micro: int
    left_micro: int
    may_request: bool


def allowance(*, staff: User, owner: User) -> Allowance:
    """What `staff` may still move alone in the wallet of `owner`, gifts and takings
    added up.

    Raises `NotAllowed` where they may not adjust it at all.
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
    """Let one adjustment of this person's go on at a time. Before any wallet's lock."""
    User.objects.select_for_update(no_key=True).only("pk").get(pk=staff.pk)


def limit_refusal(allowed: Allowance) -> DomainError:
    """The refusal of more than is left, and what helps."""
    kind = NeedsApproval if allowed.may_request else AboveLimit
    limit, left = from_micro(allowed.limit_micro), from_micro(allowed.left_micro)
    told = f"You may adjust at most {limit:,} credits in 24 hours by yourself"
    more = "More needs a second person's approval."
    if not allowed.may_request:
        more = "Ask finance for more."
    return kind(f"{told}, and {left:,} are left. {more}", limit=limit, left=left)
