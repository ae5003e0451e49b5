"""Stripe Prices of plans and differences from Stripe, on staff pages."""

from typing import Any

from django.utils import timezone

import payments.tasks
from accounts.models import SecurityEvent
from payments import drifts
from payments.models import Plan, PlanPrice
from tests.doors.staffroom import browser, in_role
from tests.till import Till


def form(plan: Plan, **changed: Any) -> dict[str, Any]:
    return {
        "name": plan.name,
        "price_cents": plan.price_cents,
        "credits": plan.credits,
        "rollover_months": 1,
        "features": "",
        "stripe_price_id": plan.stripe_price_id,
        "active": "on",
        **changed,
    }


def test_saving_a_plan_creates_its_stripe_price(
    till: Till,
) -> None:
    creator = Plan.objects.get(slug="creator")
    where = f"/admin/payments/plan/{creator.pk}/change/"
    finance = browser(in_role("finance"))
    finance.post(where, form(creator, price_cents=2000))
    assert "pending" in finance.get(where).content.decode()
    payments.tasks.make_prices()
    made = PlanPrice.objects.get(plan=creator, price_cents=2000).stripe_price_id
    assert made in finance.get(where).content.decode()
    at_stripe = till.stripe.client.v1.prices.retrieve(made)
    assert (at_stripe.unit_amount, at_stripe.active) == (2000, True)
    asked = len(till.stripe.requests())
    payments.tasks.make_prices()
    assert len(till.stripe.requests()) == asked


def test_while_stripe_is_down_the_price_is_pending_with_a_reason(
    till: Till,
) -> None:
    creator = Plan.objects.get(slug="creator")
    where = f"/admin/payments/plan/{creator.pk}/change/"
    finance = browser(in_role("finance"))
    finance.post(where, form(creator, price_cents=2000))
    till.fault("/v1/prices", method="post", count=6, status=503)
    payments.tasks.make_prices()
    page = finance.get(where).content.decode()
    assert "pending (The payment service does not answer right now.)" in page
    Plan.objects.filter(price_due_at__isnull=False).update(price_due_at=timezone.now())
    payments.tasks.make_prices()
    assert "price_" in finance.get(where).content.decode()
    creator.refresh_from_db()
    assert (creator.price_problem, creator.price_due_at) == ("", None)


def test_a_price_that_stripe_deactivated_is_replaced_and_reported(
    till: Till,
) -> None:
    creator = Plan.objects.get(slug="creator")
    where = f"/admin/payments/plan/{creator.pk}/change/"
    finance = browser(in_role("finance"))
    finance.post(where, form(creator, stripe_price_id="price_foreign"))
    payments.tasks.make_prices()
    page = finance.get(where).content.decode()
    assert "Stripe does not sell price_foreign: this one was made instead" in page


def test_a_new_installation_creates_the_plans_prices(till: Till) -> None:
    payments.tasks.make_prices()
    assert PlanPrice.objects.count() == 2


def test_staff_mark_a_difference_as_settled(db: None) -> None:
    drift = drifts.record(
        kind=drifts.Kind.NO_CREDITS, subject="in_1", detail="500 cents paid"
    )
    assert drift is not None
    act = {"action": "settle", "_selected_action": [drift.pk]}
    page = "/admin/payments/drift/"
    browser(in_role("support")).post(page, act)
    drift.refresh_from_db()
    assert drift.healed_at is None
    browser(in_role("finance")).post(page, act)
    drift.refresh_from_db()
    assert drift.settled_by
    assert SecurityEvent.objects.get(kind="stripe_difference_settled")
    assert drifts.record(kind=drifts.Kind.NO_CREDITS, subject="in_1", detail="") is None
