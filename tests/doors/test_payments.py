"""Payments' pages for people, and for staff."""

from typing import Any

import pytest

from accounts.models import User
from payments.models import Pack, Payment, Plan, PlanPrice, Purchase, StripeEvent
from tests.doors.browsing import Browser
from tests.doors.staffroom import browser, in_role
from tests.till import Till, credits_of


@pytest.fixture
def alices(alice: User) -> Browser:
    made = Browser()
    assert made.sign_in().status_code == 302
    return made


class TestPages:
    def test_a_stranger_signs_in_before_buying(self, db: None) -> None:
        assert "/signin" in Browser().get("/credits")["Location"]

    def test_a_double_click_is_one_purchase(self, till: Till, alices: Browser) -> None:
        form = {"sku": "PACK_5", "form": "ab12"}
        first = alices.fill("/credits", form, action="/credits/buy")
        again = alices.fill("/credits", form, action="/credits/buy")
        assert first.status_code == again.status_code == 200
        assert Purchase.objects.count() == 1
        assert Purchase.objects.get().url in first.content.decode()

    def test_without_the_forms_token_nothing_is_bought(
        self, till: Till, alices: Browser
    ) -> None:
        assert alices.post("/credits/buy", {"sku": "PACK_5"}).status_code == 403
        assert not Purchase.objects.exists()

    def test_a_server_without_stripe_says_that_nothing_was_charged(
        self, alices: Browser, settings: Any
    ) -> None:
        settings.STRIPE_SECRET_KEY = ""
        answer = alices.fill("/credits", {"sku": "PACK_5"}, action="/credits/buy")
        assert answer["Location"] == "/credits"
        page = alices.get("/credits").content.decode()
        assert "Payments are not set up on this server. Nothing was charged." in page

    def test_the_way_back_tells_the_truth(
        self, till: Till, alice: User, alices: Browser
    ) -> None:
        session = till.buy(alice)
        where = f"/payment/success?session_id={session}"
        waiting = alices.get(where).content.decode()
        assert 'data-state="pending"' in waiting
        assert f"session_id={session}&amp;looks=1" in waiting
        till.catch_up()
        assert "You have 5 credits" in alices.get(where).content.decode()
        # Whoever else has the address learns nothing about the account.
        stranger = Browser().get(where).content.decode()
        assert "5 credits are yours" in stranger
        assert "You have" not in stranger

    @pytest.mark.parametrize(
        "query", ["", "?session_id=", "?session_id=cs_x", "?session_id=%00", "?looks=9"]
    )
    def test_an_address_nobody_was_sent_to(self, db: None, query: str) -> None:
        assert Browser().get(f"/payment/success{query}").status_code == 404

    def test_a_bank_debit_under_way_and_one_that_came_back(
        self, till: Till, alice: User
    ) -> None:
        session = till.buy(alice, sepa_debit=True)
        till.catch_up()
        where = f"/payment/success?session_id={session}"
        assert 'data-state="processing"' in Browser().get(where).content.decode()
        till.stripe.control(f"checkout/{session}/settle", paid=False)
        till.catch_up()
        assert 'data-state="failed"' in Browser().get(where).content.decode()


TABLES = (
    "pack",
    "plan",
    "purchase",
    "payment",
    "reversal",
    "subscription",
    "stripeevent",
    "drift",
)


class TestStaff:
    @pytest.mark.parametrize("role", ["viewer", "support", "finance"])
    def test_every_role_looks(self, till: Till, alice: User, role: str) -> None:
        session = till.buy(alice)
        till.stripe.control(f"charges/{till.intent(session)}/refund")
        till.catch_up()
        staff = browser(in_role(role))
        for table in TABLES:
            page = f"/admin/payments/{table}/"
            assert staff.get(page).status_code == 200, table
            assert staff.get(page, {"q": "alice@example.com"}).status_code == 200
            assert staff.get(page, {"q": session}).status_code == 200
        event = StripeEvent.objects.filter(type="checkout.session.completed").get()
        assert (
            staff.get(f"/admin/payments/stripeevent/{event.pk}/change/").status_code
            == 200
        )
        payment = Payment.objects.get()
        assert (
            staff.get(f"/admin/payments/payment/{payment.pk}/change/").status_code
            == 200
        )

    def test_an_event_handled_again_moves_nothing_again(
        self, till: Till, alice: User
    ) -> None:
        till.buy(alice)
        till.catch_up()
        event = StripeEvent.objects.get(type="checkout.session.completed")
        act = {"action": "handle_again", "_selected_action": [event.pk]}
        page = "/admin/payments/stripeevent/"
        browser(in_role("support")).post(page, act)
        event.refresh_from_db()
        assert event.state == "done"
        browser(in_role("finance")).post(page, act)
        event.refresh_from_db()
        assert event.state == "pending"
        till.catch_up()
        event.refresh_from_db()
        assert (event.state, event.outcome) == ("done", "credited before")
        assert credits_of(alice) == 5

    def test_finance_edits_packs_and_deletes_none(self, db: None) -> None:
        finance = browser(in_role("finance"))
        pack = Pack.objects.get(sku="PACK_5")
        where = f"/admin/payments/pack/{pack.pk}/"
        form = {"sku": "X", "credits": 6, "price_cents": 599, "active": "on"}
        assert finance.post(f"{where}change/", form).status_code == 302
        pack.refresh_from_db()
        assert (pack.sku, pack.credits, pack.price_dollars) == ("PACK_5", 6, "$5.99")
        assert finance.post(f"{where}delete/", {"post": "yes"}).status_code == 403
        support = browser(in_role("support"))
        assert support.post(f"{where}change/", form).status_code == 403

    def test_another_price_of_a_plan_is_another_price_in_stripe(
        self, till: Till, alice: User, bob: User
    ) -> None:
        subscription = till.subscribe(alice)
        till.catch_up()
        pro = Plan.objects.get(slug="pro")
        form = {
            "name": pro.name,
            "price_cents": 1000,
            "credits": 12,
            "rollover_months": 1,
            "features": "",
            "stripe_price_id": "",
            "active": "on",
        }
        where = f"/admin/payments/plan/{pro.pk}/change/"
        assert browser(in_role("finance")).post(where, form).status_code == 302
        till.subscribe(bob)
        till.stripe.control(f"subscriptions/{subscription}/renew")
        till.catch_up()
        assert PlanPrice.objects.filter(plan=pro).count() == 2
        # Alice still pays what she agreed to, and is still on the plan.
        assert (credits_of(alice), credits_of(bob)) == (22, 12)
