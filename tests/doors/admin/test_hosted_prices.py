"""Finance staff edit the prices of hosted work, and every change is audited."""

from typing import Any, ClassVar

import pytest

from accounts.models import App, SecurityEvent, User
from jobs.models import Price
from tests.doors.hosted_rows import page
from tests.doors.staffroom import browser, in_role

pytestmark = pytest.mark.django_db


@pytest.fixture
def priced(video: App) -> Price:
    return Price.objects.create(
        app=video, action="detect", unit="minute", credits_micro=1_500_000
    )


class TestPrices:
    def save(self, role: str, price: Price, **typed: str) -> Any:
        return browser(in_role(role)).post(page(Price, price), typed)

    @pytest.mark.parametrize("role", ["finance", "superuser"])
    def test_finance_staff_change_a_price_and_the_audit_says_so(
        self, role: str, priced: Price
    ) -> None:
        answer = self.save(role, priced, credits="2.25", free_units_a_month="600")
        assert answer.status_code == 302
        priced.refresh_from_db()
        assert (priced.credits_micro, priced.free_units_a_month) == (2_250_000, 600)
        event = SecurityEvent.objects.get(kind="hosted_price_changed")
        assert event.actor == f"{role}@staff.example.com"
        assert event.facts == {
            "app": "video",
            "action": "detect",
            "plan": "",
            "before": {"credits": "1.5", "free_units_a_month": 0},
            "after": {"credits": "2.25", "free_units_a_month": 600},
        }
        html = browser(in_role("viewer")).get(page(Price)).content.decode()
        assert ">2.25<" in html

    @pytest.mark.parametrize("role", ["viewer", "support"])
    def test_other_staff_only_read_prices(self, role: str, priced: Price) -> None:
        answer = self.save(role, priced, credits="0", free_units_a_month="9")
        assert answer.status_code == 403
        priced.refresh_from_db()
        assert (priced.credits_micro, priced.free_units_a_month) == (1_500_000, 0)
        assert not SecurityEvent.objects.filter(kind="hosted_price_changed").exists()

    @pytest.mark.parametrize(
        "typed",
        [
            {"credits": "-1"},
            {"credits": "0.0000001"},
            {"credits": "1000000.1"},
            {"credits": "NaN"},
            {"credits": ""},
            {"free_units_a_month": "-1"},
            {"free_units_a_month": "2147483648"},
            {"free_units_a_month": "1.5"},
        ],
        ids=str,
    )
    def test_a_malformed_price_changes_nothing(
        self, typed: dict[str, str], priced: Price
    ) -> None:
        good = {"credits": "2", "free_units_a_month": "5"}
        assert self.save("finance", priced, **{**good, **typed}).status_code == 200
        priced.refresh_from_db()
        assert (priced.credits_micro, priced.free_units_a_month) == (1_500_000, 0)
        assert not SecurityEvent.objects.filter(kind="hosted_price_changed").exists()

    def test_the_action_of_a_price_never_changes(
        self, priced: Price, tool: App
    ) -> None:
        self.save(
            "superuser",
            priced,
            credits="2",
            free_units_a_month="0",
            app=str(tool.pk),
            action="export",
            unit="hour",
            plan="pro",
            credits_micro="7",
        )
        now = Price.objects.get(pk=priced.pk)
        assert (now.app, now.action, now.unit) == (priced.app, "detect", "minute")
        assert (now.plan, now.credits_micro) == ("", 2_000_000)

    ADD = "/admin/jobs/price/add/"
    NEW: ClassVar = {
        "work": "clipforge detect",
        "plan": "pro",
        "credits": "0.5",
        "free_units_a_month": "1200",
    }

    def test_finance_staff_give_a_plan_its_own_price_and_take_it_away(
        self, alice: User
    ) -> None:
        staff = browser(in_role("finance"))
        assert (
            "clipforge: detect, by the minute" in staff.get(self.ADD).content.decode()
        )
        assert staff.post(self.ADD, self.NEW).status_code == 302
        price = Price.objects.get()
        assert (price.app.slug, price.unit, price.plan) == (
            "clipforge",
            "minute",
            "pro",
        )
        assert (price.credits_micro, price.free_units_a_month) == (500_000, 1200)
        again = staff.post(self.ADD, self.NEW)
        assert "There is a price for this already" in again.content.decode()
        assert Price.objects.count() == 1
        assert staff.get(page(Price, price)).status_code == 200
        gone = staff.post(f"/admin/jobs/price/{price.pk}/delete/", {"post": "yes"})
        assert gone.status_code == 302
        assert not Price.objects.exists()
        own = {"credits": "0.5", "free_units_a_month": 1200}
        events = SecurityEvent.objects.filter(kind="hosted_price_changed")
        assert [
            (event.facts["plan"], event.facts["before"], event.facts["after"])
            for event in events.order_by("pk")
        ] == [("pro", None, own), ("pro", own, None)]

    @pytest.mark.parametrize(
        "typed",
        [
            {"work": "reviv"},
            {"work": "reviv export"},
            {"work": "video detect"},
            {"plan": "nothing"},
            {"credits": "x"},
        ],
        ids=str,
    )
    def test_a_price_for_unknown_work_or_plans_is_refused(
        self, typed: dict[str, str], db: None
    ) -> None:
        staff = browser(in_role("superuser"))
        assert staff.post(self.ADD, {**self.NEW, **typed}).status_code == 200
        assert not Price.objects.exists()

    def test_a_product_that_a_partner_owns_gets_no_price(
        self, db: None, bob: User
    ) -> None:
        App.objects.create(slug="clipforge", name="Old", owner=bob)
        answer = browser(in_role("finance")).post(self.ADD, self.NEW)
        assert "is not available on this server" in answer.content.decode()
        assert not Price.objects.exists()

    @pytest.mark.parametrize("role", ["viewer", "support"])
    def test_other_staff_add_and_delete_no_price(self, role: str, video: App) -> None:
        own = Price.objects.create(
            app=video, action="detect", unit="minute", plan="pro", credits_micro=1
        )
        staff = browser(in_role(role))
        assert staff.post(self.ADD, self.NEW).status_code == 403
        where = f"/admin/jobs/price/{own.pk}/delete/"
        assert staff.post(where, {"post": "yes"}).status_code == 403
        assert Price.objects.get() == own

    def test_the_price_for_all_plans_is_never_deleted(self, priced: Price) -> None:
        staff = browser(in_role("superuser"))
        where = f"/admin/jobs/price/{priced.pk}/delete/"
        assert staff.post(where, {"post": "yes"}).status_code == 403
        many = {"action": "delete_selected", "_selected_action": priced.pk}
        staff.post(page(Price), {**many, "post": "yes"})
        assert Price.objects.get() == priced

    def test_a_save_without_a_change_writes_no_audit_event(self, priced: Price) -> None:
        same = {"credits": "1.5", "free_units_a_month": "0"}
        assert self.save("finance", priced, **same).status_code == 302
        assert not SecurityEvent.objects.filter(kind="hosted_price_changed").exists()
