"""A plan's Price at Stripe: made soon after a plan is saved, and anew when gone."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from django.db import transaction
from django.utils import timezone

from payments import gateway
from payments.models import Plan
from payments.plans import catalog as plan_catalog

log = logging.getLogger(__name__)

# Longer than a Price takes at worst: until then no other worker has the plan.
LEASE = timedelta(seconds=60)
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=10), timedelta(hours=1)

T = TypeVar("T")


def price_of(*, plan: Plan) -> str:
    """The plan's Price in Stripe, made now if there is none. Asks Stripe then, so no
    transaction may be open.
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
    # Two at once were given the same one by Stripe.
    plan_catalog.remember_price(plan=plan, price=made)
    return made


def with_price(*, plan: Plan, ask: Callable[[str], T]) -> T:
    """The answer of `ask` for the plan's Price. Where Stripe refuses because the Price
    is deleted, archived, or another account's, once again for a new one.
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
    """Have a worker see to the plan's Price soon, after this transaction."""
    Plan.objects.filter(pk=plan.pk).update(
        price_due_at=timezone.now(), price_tries=0, price_problem=""
    )


def make_due(*, limit: int = 20) -> int:
    """See to the Prices that are due. Returns how many plans have theirs.

    A plan of which Stripe refuses the Price waits longer each time, says why in the
    admin, and keeps no other plan waiting.
    """
    _notice_new()
    done = 0
    for _ in range(limit):
        plan = _claim()
        if plan is None:
            break
        done += _make(plan)
    return done


def _notice_new() -> None:
    """A plan that was never saved in the admin: those of a new installation."""
    unseen = plan_catalog.offered().filter(price_cents__gt=0, price_due_at=None)
    for plan in unseen:
        if not plan_catalog.price_of(plan=plan):
            Plan.objects.filter(pk=plan.pk, price_due_at=None).update(
                price_due_at=timezone.now()
            )


@transaction.atomic
def _claim() -> Plan | None:
    now = timezone.now()
    plan = (
        Plan.objects.select_for_update(no_key=True, skip_locked=True)
        .filter(price_due_at__lte=now)
        .order_by("price_tries", "price_due_at", "pk")
        .first()
    )
    if plan is not None:
        plan.price_tries = min(plan.price_tries + 1, 30)
        plan.price_due_at = now + LEASE
        plan.save(update_fields=["price_tries", "price_due_at"])
    return plan


def _make(plan: Plan) -> bool:
    due, problem = None, ""
    try:
        if plan.active and plan.price_cents:
            typed = plan.stripe_price_id
            with_price(plan=plan, ask=_check)
            if typed != plan.stripe_price_id:
                problem = f"Stripe does not sell {typed}: this one was made instead"
    # Any error stops no other plan, and staff read it.
    except Exception as failure:
        log.warning("price of %s: %s: %s", plan, type(failure).__name__, failure)
        wait = min(FIRST_WAIT * 2 ** (plan.price_tries - 1), LONGEST_WAIT)
        due, problem = timezone.now() + wait, f"{failure}"[:200]
    Plan.objects.filter(pk=plan.pk, price_due_at=plan.price_due_at).update(
        price_due_at=due,
        price_problem=problem,
        price_tries=plan.price_tries if due else 0,
    )
    return due is None


def _check(price: str) -> None:
    if not gateway.is_price_active(price=price):
        raise gateway.Missing("Stripe does not sell this price.")
