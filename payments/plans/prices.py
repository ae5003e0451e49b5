"""A plan's Price at Stripe: made soon after a plan is saved, and again when it is gone.

A worker makes Prices from a row queue (`focus.due`): the `price_` columns of `Plan`.
"""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from django.db import transaction

from focus import due
from payments import gateway
from payments.models import Plan
from payments.plans import catalog as plan_catalog

log = logging.getLogger(__name__)

QUEUE = due.Queue(
    Plan.objects.all(),
    task="payments.make_prices",
    # Longer than a Price takes at worst.
    lease=timedelta(seconds=60),
    backoff=due.Backoff(first=timedelta(seconds=10), longest=timedelta(hours=1)),
    columns=due.Columns("price_due_at", "price_tries", "price_lease"),
    is_on=gateway.is_on,
)

T = TypeVar("T")


def price_of(*, plan: Plan) -> str:
    """Return the plan's Price at Stripe; make one if there is none.

    Making one asks Stripe, so no transaction may be open. Raises `gateway.StripeBusy`
    where staff changed the plan's price meanwhile.
    """
    if known := plan_catalog.price_of(plan=plan):
        return known
    params = {
        "currency": gateway.CURRENCY,
        "unit_amount": plan.price_cents,
        "recurring": {"interval": "month"},
        "product_data": {"name": plan.name, "metadata": {"focus_plan": plan.slug}},
        "metadata": {"focus_plan": plan.slug},
    }
    step = f"price-{plan_catalog.count_gone_prices(plan=plan)}-{gateway.digest(params)}"
    made = gateway.create_price(params=params, key=f"focus-{plan.key}-{step}")
    with transaction.atomic():
        row = Plan.objects.select_for_update(no_key=True).get(pk=plan.pk)
        # The floor of `payments.offers` counts the Prices that are recorded. A cheaper
        # one that is recorded later would sell the credits of today.
        if row.price_cents != plan.price_cents:
            raise gateway.StripeBusy("The price of this plan has just changed.")
        # Two workers at once got the same Price from Stripe: their idempotency key is
        # one.
        plan_catalog.remember_price(plan=plan, price=made)
    return made


def with_price(*, plan: Plan, ask: Callable[[str], T]) -> T:
    """Return what `ask` returns for the plan's Price.

    Where Stripe refuses a Price that is deleted, archived or of another Stripe account,
    `ask` runs once more with a new Price. May read `plan` from the database again.
    """
    price = price_of(plan=plan)
    try:
        return ask(price)
    except (gateway.Missing, gateway.StripeRefused):
        if gateway.is_price_active(price=price):
            raise
    log.error("Stripe does not sell the price %s of %s any more", price, plan)
    plan_catalog.forget_price(price=price)
    plan.refresh_from_db()
    return ask(price_of(plan=plan))


def check_again(*, plan: Plan) -> None:
    """Have a worker check the plan's Price soon after this transaction commits."""
    QUEUE.restart(Plan.objects.filter(pk=plan.pk), price_problem="")


def make_due(*, limit: int = 20) -> int:
    """Check due plans and make the Prices they lack. Returns how many plans have one.

    A Price that Stripe refuses backs off and delays no other plan. The admin shows why.
    """
    _notice_new()
    done = 0
    for _ in range(limit):
        plan = QUEUE.claim()
        if plan is None:
            break
        done += _make(plan)
    return done


def _notice_new() -> None:
    """Make plans due that no admin has saved: the plans of a new installation."""
    unseen = plan_catalog.offered().filter(price_cents__gt=0, price_due_at=None)
    for plan in unseen:
        if not plan_catalog.price_of(plan=plan):
            Plan.objects.filter(pk=plan.pk, price_due_at=None).update(
                price_due_at=due.NOW
            )


def _make(claimed: Plan) -> bool:
    """Whether the claimed plan has its Price, or needs none."""
    problem = ""
    # A second instance: `with_price` reads its plan again, and with it the lease.
    plan = Plan.objects.get(pk=claimed.pk)
    try:
        if plan.active and plan.price_cents:
            typed = plan.stripe_price_id
            with_price(plan=plan, ask=_check)
            if typed != plan.stripe_price_id:
                problem = f"Stripe does not sell {typed}: this one was made instead"
    # No error may stop the other plans. Staff read it in the admin.
    except Exception as failure:
        log.warning("price of %s: %s: %s", plan, type(failure).__name__, failure)
        QUEUE.retry(claimed, price_problem=f"{failure}"[:200])
        return False
    return QUEUE.finish(claimed, price_problem=problem, price_tries=0)


def _check(price: str) -> None:
    if not gateway.is_price_active(price=price):
        raise gateway.Missing("Stripe does not sell this price.")
