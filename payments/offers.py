"""Lowest prices: which packs and plans a member of staff may offer alone.

Credits that cost almost nothing pass the approval of large adjustments (decision 41).
"""

from django.conf import settings

from accounts.models import User
from focus.errors import DomainError
from payments.models import Pack, Plan, PlanPrice
from payments.models.packs import dollars

SELL_BELOW_FLOOR = "payments.sell_below_floor"


class BelowFloor(DomainError):
    """The offer gives more credits per dollar than this member of staff may sell."""

    code = "below_floor"


def refuse_below_floor(
    *,
    offer: Pack | Plan,
    credits_: int,
    price_cents: int,
    active: bool,
    staff: User,
) -> None:
    """Raise `BelowFloor` if `staff` may not save `offer` with these terms.

    `offer` is the row, or a new one. The floor is `STAFF_MOST_CREDITS_PER_DOLLAR`;
    `sell_below_floor`, which superusers have, lifts it. Saving unchanged terms and
    switching an offer off are always allowed.

    Locks the row; call it in the transaction that saves. A Price that a buyer's request
    makes meanwhile is then seen here, or that request sees the new terms (`price_of`).
    """
    rows = type(offer).objects.select_for_update(no_key=True)
    before = rows.filter(pk=offer.pk).first()
    if before is not None:
        unchanged = (before.credits, before.price_cents) == (credits_, price_cents)
        if unchanged and (before.active or not active):
            return
    lowest = _lowest_price_cents(offer, price_cents)
    most = settings.STAFF_MOST_CREDITS_PER_DOLLAR
    if lowest is None or credits_ * 100 <= most * lowest:
        return
    if not staff.has_perm(SELL_BELOW_FLOOR):
        raise BelowFloor(
            f"{credits_:,} credits for {dollars(lowest)} are more than {most:,} credits"
            " per dollar. Raise the price, or ask a superuser to save this."
        )


def _lowest_price_cents(offer: Pack | Plan, price_cents: int) -> int | None:
    """The least that a buyer may pay. None where an offer is free: free plans have no
    invoices, so they bring no credits.

    A plan's earlier Prices count, because their subscribers keep them and get the
    plan's credits of today.
    """
    prices = [price_cents]
    if isinstance(offer, Plan) and offer.pk:
        earlier = PlanPrice.objects.filter(plan=offer)
        prices += earlier.values_list("price_cents", flat=True)
    return min((price for price in prices if price), default=None)
