"""The lowest price that a member of staff may offer, by role and by kind of offer."""

import threading
from typing import Any

import pytest
from django.db import connections

from accounts.models import SecurityEvent, User
from focus.errors import DomainError
from payments import gateway, offers
from payments.models import Pack, Plan, PlanCheckout, PlanPrice
from payments.plans import choosing
from tests import processes
from tests.doors.staffroom import browser, in_role
from tests.till import Till

ADD = "/admin/payments/pack/add/"
CHEAP = {"sku": "CHEAP", "credits": 1_000_000_000, "price_cents": 50}


def change(offer: Pack | Plan) -> str:
    return f"/admin/payments/{offer._meta.model_name}/{offer.pk}/change/"


def save_pack(staff: User, pack: Pack, **terms: Any) -> Any:
    form = {"credits": pack.credits, "price_cents": pack.price_cents, "active": "on"}
    return browser(staff).post(change(pack), {**form, **terms})


def save_plan(staff: User, plan: Plan, **terms: Any) -> Any:
    form = {
        "name": plan.name,
        "price_cents": plan.price_cents,
        "credits": plan.credits,
        "rollover_months": 1,
        "features": "",
        "stripe_price_id": plan.stripe_price_id,
        "active": "on",
    }
    return browser(staff).post(change(plan), {**form, **terms})


@pytest.fixture
def cheap(db: None) -> Pack:
    """A pack below the floor, as a superuser may save it."""
    return Pack.objects.create(sku="CHEAP", credits=1000, price_cents=50)


@pytest.mark.django_db
class TestPacks:
    def test_finance_adds_no_pack_below_the_floor(self) -> None:
        finance = browser(in_role("finance"))
        for active in ({"active": "on"}, {}):
            text = finance.post(ADD, {**CHEAP, **active}).content.decode()
            assert "1,000,000,000 credits for $0.50 are more than 10" in text
        assert not Pack.objects.filter(sku="CHEAP").exists()
        assert not SecurityEvent.objects.filter(kind="pack_created").exists()

    @pytest.mark.parametrize("role", ["viewer", "support"])
    def test_viewers_and_support_add_no_pack(self, role: str) -> None:
        fair = {"sku": "FAIR", "credits": 5, "price_cents": 499, "active": "on"}
        assert browser(in_role(role)).post(ADD, fair).status_code == 403

    def test_a_superuser_adds_a_pack_below_the_floor(self) -> None:
        answer = browser(in_role("superuser")).post(ADD, {**CHEAP, "active": "on"})
        assert answer.status_code == 302
        assert Pack.objects.get(sku="CHEAP").credits == 1_000_000_000
        assert SecurityEvent.objects.filter(kind="pack_created").count() == 1

    def test_finance_adds_a_pack_at_the_floor(self) -> None:
        at_it = {"sku": "ATIT", "credits": 50, "price_cents": 500, "active": "on"}
        finance = browser(in_role("finance"))
        assert finance.post(ADD, at_it).status_code == 302
        over = {**at_it, "sku": "OVER", "credits": 51}
        assert finance.post(ADD, over).status_code == 200
        assert not Pack.objects.filter(sku="OVER").exists()

    @pytest.mark.parametrize(
        "terms", [{"credits": 5000}, {"price_cents": 50, "credits": 6}]
    )
    def test_finance_lowers_no_pack_below_the_floor(
        self, terms: dict[str, int]
    ) -> None:
        pack = Pack.objects.get(sku="PACK_5")
        assert save_pack(in_role("finance"), pack, **terms).status_code == 200
        pack.refresh_from_db()
        assert (pack.credits, pack.price_cents) == (5, 499)

    def test_finance_switches_a_cheap_pack_off_and_not_on_again(
        self, cheap: Pack
    ) -> None:
        finance = in_role("finance")
        assert save_pack(finance, cheap, active="").status_code == 302
        cheap.refresh_from_db()
        assert not cheap.active
        assert save_pack(finance, cheap, active="on").status_code == 200
        cheap.refresh_from_db()
        assert not cheap.active
        assert save_pack(in_role("superuser"), cheap, active="on").status_code == 302

    def test_the_floor_is_a_setting(self, settings: Any) -> None:
        settings.STAFF_MOST_CREDITS_PER_DOLLAR = 2_000_000_000
        answer = browser(in_role("finance")).post(ADD, {**CHEAP, "active": "on"})
        assert answer.status_code == 302


@pytest.mark.django_db
class TestPlans:
    @pytest.mark.parametrize("terms", [{"credits": 91}, {"price_cents": 50}])
    def test_finance_lowers_no_plan_below_the_floor(
        self, terms: dict[str, int]
    ) -> None:
        plan = Plan.objects.get(slug="pro")
        assert save_plan(in_role("finance"), plan, **terms).status_code == 200
        plan.refresh_from_db()
        assert (plan.credits, plan.price_cents) == (10, 900)

    @pytest.mark.parametrize("price_cents", [0, 99_999_999])
    def test_a_price_that_subscribers_keep_counts(self, price_cents: int) -> None:
        plan = Plan.objects.get(slug="pro")
        PlanPrice.objects.create(plan=plan, stripe_price_id="price_1", price_cents=900)
        terms = {"credits": 1_000_000, "price_cents": price_cents}
        page = save_plan(in_role("finance"), plan, **terms)
        assert "1,000,000 credits for $9.00 are more than 10" in page.content.decode()
        plan.refresh_from_db()
        assert (plan.credits, plan.price_cents) == (10, 900)

    def test_a_superuser_lowers_a_plan_below_the_floor(self) -> None:
        plan = Plan.objects.get(slug="pro")
        assert save_plan(in_role("superuser"), plan, credits=91).status_code == 302
        plan.refresh_from_db()
        assert plan.credits == 91

    def test_the_free_plan_has_no_floor(self) -> None:
        """It has no invoices, so its credits are never granted."""
        plan = Plan.objects.get(slug="free")
        assert save_plan(in_role("finance"), plan, credits=91).status_code == 302

    def test_a_changed_name_of_a_cheap_plan_needs_no_further_right(self) -> None:
        plan = Plan.objects.get(slug="pro")
        Plan.objects.filter(pk=plan.pk).update(credits=5000)
        plan.refresh_from_db()
        assert save_plan(in_role("finance"), plan, name="Nova").status_code == 302


def test_the_rule_refuses_without_a_page(db: None) -> None:
    with pytest.raises(offers.BelowFloor):
        offers.refuse_below_floor(
            offer=Pack(sku="CHEAP"),
            credits_=11,
            price_cents=100,
            active=True,
            staff=in_role("finance"),
        )


@pytest.mark.django_db
def test_terms_that_another_save_has_replaced_are_not_unchanged() -> None:
    """A form that was read before that save must not bring cheap terms back."""
    plan = Plan.objects.get(slug="pro")
    Plan.objects.filter(pk=plan.pk).update(credits=5, price_cents=50)
    PlanPrice.objects.create(plan=plan, stripe_price_id="price_1", price_cents=50)
    with pytest.raises(offers.BelowFloor):
        offers.refuse_below_floor(
            offer=plan,
            credits_=plan.credits,
            price_cents=plan.price_cents,
            active=True,
            staff=in_role("finance"),
        )


@pytest.mark.django_db(transaction=True)
class TestRaces:
    def test_a_price_under_way_sells_no_credits_of_a_later_save(
        self, till: Till, alice: User
    ) -> None:
        """A buyer of $0.50 must not get the credits that $999 bring a moment later."""
        Plan.objects.filter(slug="pro").update(price_cents=50, credits=5)
        plan = Plan.objects.get(slug="pro")
        finance = in_role("finance")
        # Less than our read timeout of 5 s.
        till.fault("/v1/prices", method="post", seconds=4)
        outcomes: list[Any] = []

        def choose() -> None:
            try:
                outcomes.append(choosing.choose(account=alice, slug="pro"))
            except DomainError as refusal:
                outcomes.append(refusal)
            finally:
                connections.close_all()

        buyer = threading.Thread(target=choose)
        buyer.start()
        processes.until(PlanCheckout.objects.exists, seconds=60)
        terms = {"price_cents": 99_900, "credits": 9990}
        assert save_plan(finance, plan, **terms).status_code == 302
        buyer.join(60)
        [refusal] = outcomes
        assert isinstance(refusal, gateway.StripeBusy)
        assert not PlanPrice.objects.filter(plan=plan, price_cents=50).exists()
        # The next request pays the price of now.
        page = choosing.choose(account=alice, slug="pro")
        assert gateway.session(session_id=page.session_id).total_cents == 99_900
