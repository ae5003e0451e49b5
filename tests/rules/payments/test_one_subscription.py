"""An account pays for one subscription, at any status and under concurrent requests."""

import contextlib
from typing import Any

import pytest

from accounts.models import User
from focus.errors import DomainError
from payments import gateway
from payments.models import Customer, Plan, PlanCheckout
from payments.plans import catalog as plan_catalog
from payments.plans import choosing
from tests.rules.payments.test_refunds import at_once
from tests.rules.payments.test_whole_lists import price
from tests.till import Till, credits_of

SESSIONS = "/v1/checkout/sessions"


def standing(till: Till, user: User) -> list[str]:
    """The statuses of the account's subscriptions that have not ended."""
    customer = str(Customer.objects.get(account=user).stripe_customer_id)
    return [it.status for it in gateway.subscriptions_of(customer=customer)]


def opened(till: Till) -> int:
    asked = till.stripe.requests(SESSIONS)
    return sum(one["method"] == "post" and one["path"] == SESSIONS for one in asked)


@pytest.mark.parametrize("status", ["past_due", "unpaid", "paused"])
@pytest.mark.parametrize("slug", ["pro", "creator"])
def test_a_subscription_with_an_unpaid_invoice_leads_to_the_portal(
    till: Till, alice: User, status: str, slug: str
) -> None:
    subscription = till.subscribe(alice)
    till.catch_up()
    before = opened(till)
    till.stripe.control(f"subscriptions/{subscription}/status", status=status)
    way = choosing.choose(account=alice, slug=slug)
    assert "/p/session/" in way.url
    assert opened(till) == before
    till.catch_up()
    assert standing(till, alice) == [status]


def test_a_subscription_without_its_first_payment_is_replaced(
    till: Till, alice: User
) -> None:
    subscription = till.subscribe(alice)
    till.catch_up()
    till.stripe.control(f"subscriptions/{subscription}/status", status="incomplete")
    till.subscribe(alice, "creator")
    till.catch_up()
    assert standing(till, alice) == ["active"]
    assert plan_catalog.plan_of(account_id=alice.pk) == "creator"


def test_no_plan_is_chosen_while_a_first_payment_is_processing(
    till: Till, alice: User
) -> None:
    """A bank debit takes days. A second subscription would be paid in addition."""
    customer = Customer.objects.create(account=alice)
    made = till.stripe.client.v1.customers.create({"email": "alice@example.com"})
    Customer.objects.filter(pk=customer.pk).update(stripe_customer_id=made.id)
    params: Any = {
        "mode": "subscription",
        "customer": made.id,
        "success_url": "https://shop.example.com/",
        "payment_method_types": ["card", "sepa_debit"],
        "line_items": [{"price": price("pro"), "quantity": 1}],
    }
    session = till.stripe.client.v1.checkout.sessions.create(params)
    assert till.stripe.pay(session.id, sepa_debit=True)["error"] is None
    assert standing(till, alice) == ["incomplete"]
    for slug in ("pro", "creator"):
        with pytest.raises(choosing.PaymentUnderWay):
            choosing.choose(account=alice, slug=slug)
    till.stripe.control(f"checkout/{session.id}/settle", paid=True)
    with pytest.raises(choosing.SamePlan):
        choosing.choose(account=alice, slug="pro")
    till.catch_up()
    assert credits_of(alice) == 10


def test_a_checkout_paid_while_another_plan_is_chosen(till: Till, alice: User) -> None:
    """The first is paid, and its event has not arrived: the second is a change."""
    first = choosing.choose(account=alice, slug="pro")
    assert till.stripe.pay(first.session_id)["error"] is None
    way = choosing.choose(account=alice, slug="creator")
    assert "/p/session/" in way.url
    assert standing(till, alice) == ["active"]


def test_no_two_checkouts_can_be_paid(till: Till, alice: User) -> None:
    first = choosing.choose(account=alice, slug="pro")
    second = choosing.choose(account=alice, slug="creator")
    assert till.stripe.pay(first.session_id)["error"] is not None
    assert till.stripe.pay(second.session_id)["error"] is None
    assert standing(till, alice) == ["active"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("slow", [0, 1])
def test_of_concurrent_choices_one_can_be_paid(
    till: Till, alice: User, slow: int
) -> None:
    choosing.choose(account=alice, slug="pro")
    if slow:
        till.fault(SESSIONS, method="post", count=3, seconds=0.3)
    ways: list[choosing.StripePage] = []

    def choose(slug: str) -> None:
        with contextlib.suppress(DomainError):
            ways.append(choosing.choose(account=alice, slug=slug))

    at_once(8, [lambda slug=slug: choose(slug) for slug in ("pro", "creator") * 4])
    paid = 0
    for session in till.stripe.client.v1.checkout.sessions.list({"limit": 100}).data:
        if session.status == "open":
            paid += till.stripe.pay(session.id)["error"] is None
    assert paid <= 1
    assert len(standing(till, alice)) == paid
    assert PlanCheckout.objects.filter(closed_at=None).count() <= 1


def test_a_subscription_that_ended_at_stripe_cannot_be_cancelled(
    till: Till, alice: User
) -> None:
    from payments.plans import subscriptions

    subscription = till.subscribe(alice)
    till.catch_up()
    till.stripe.control(f"subscriptions/{subscription}/end")
    with pytest.raises(subscriptions.NotSubscribed):
        subscriptions.set_ending(account=alice, ends=True)
    assert plan_catalog.plan_of(account_id=alice.pk) == "free"


class TestConfirmation:
    def test_a_change_leads_to_its_own_confirmation(
        self, till: Till, alice: User
    ) -> None:
        till.subscribe(alice)
        till.catch_up()
        way = choosing.choose(account=alice, slug="creator")
        assert way.url.endswith("/flow")
        [asked] = till.stripe.requests("/v1/billing_portal/sessions")
        confirm = asked["params"]["flow_data"]["subscription_update_confirm"]
        assert confirm["items"][0]["price"] == price("creator")

    @pytest.mark.parametrize("status", [400, 404])
    def test_without_a_confirmation_page_the_portal_opens(
        self, till: Till, alice: User, status: int
    ) -> None:
        till.subscribe(alice)
        till.catch_up()
        till.fault("/v1/billing_portal", method="post", count=1, status=status)
        way = choosing.choose(account=alice, slug="creator")
        assert "/p/session/" in way.url
        assert not way.url.endswith("/flow")


def test_closing_a_checkout_expires_a_session_attached_meanwhile(
    till: Till, alice: User
) -> None:
    """A race: the row was read before the other request attached its session."""
    plan = Plan.objects.get(slug="pro")
    stale = PlanCheckout.objects.create(account=alice, plan=plan)
    way = choosing.choose(account=alice, slug="pro")
    assert stale.stripe_session_id is None
    choosing._close(stale)
    assert gateway.session(session_id=way.session_id).status == "expired"
    assert not PlanCheckout.objects.filter(closed_at=None).exists()
