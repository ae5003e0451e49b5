"""The payment pages of customers and of staff."""

from typing import Any

import pytest

import payments.tasks
from accounts.models import App, SecurityEvent, User
from payments import gateway, reconciliation
from payments.models import (
    Customer,
    Pack,
    Payment,
    Plan,
    PlanPrice,
    Purchase,
    StripeEvent,
    Subscription,
    TopUpAttempt,
    TopUpRule,
)
from tests.doors.browsing import Browser
from tests.doors.staffroom import browser, in_role
from tests.till import Till, credits_of
from wallet import starters


@pytest.fixture
def alices(alice: User) -> Browser:
    made = Browser()
    assert made.sign_in().status_code == 302
    return made


class TestPages:
    def test_an_anonymous_buyer_signs_in_first(self, db: None) -> None:
        assert "/signin" in Browser().get("/credits")["Location"]

    def test_the_shop_shows_credits_that_only_one_app_may_spend(
        self, alice: User, alices: Browser, video: App
    ) -> None:
        starters.record_consent_and_grant(user=alice, app=video, actor="test")
        page = alices.get("/credits").content.decode()
        assert f"20 of them only for {video.name}" in page

    def test_the_shop_reloads_until_a_confirmed_plan_change_arrives(
        self, alice: User, alices: Browser
    ) -> None:
        page = alices.get("/credits?plan=creator").content.decode()
        assert "Stripe is confirming" not in page
        subscription = Subscription.objects.create(
            account=alice,
            stripe_subscription_id="sub_test",
            plan=Plan.objects.get(slug="pro"),
            status="active",
        )
        page = alices.get("/credits?plan=creator").content.decode()
        assert "Stripe is confirming your change to Galaxy Guardian." in page
        assert 'content="3; url=?plan=creator&amp;looks=1"' in page
        page = alices.get("/credits?plan=creator&looks=100").content.decode()
        assert "This takes longer than usual." in page
        assert 'http-equiv="refresh"' not in page
        subscription.plan = Plan.objects.get(slug="creator")
        subscription.save()
        page = alices.get("/credits?plan=creator").content.decode()
        assert "You are on Galaxy Guardian." in page
        assert 'http-equiv="refresh"' not in page
        assert "confirming" not in alices.get("/credits?plan=%00").content.decode()

    def test_a_double_click_is_one_purchase(self, till: Till, alices: Browser) -> None:
        form = {"sku": "PACK_5", "form": "ab12"}
        first = alices.fill("/credits", form, action="/credits/buy")
        again = alices.fill("/credits", form, action="/credits/buy")
        assert first.status_code == again.status_code == 200
        assert Purchase.objects.count() == 1
        assert Purchase.objects.get().url in first.content.decode()

    def test_a_purchase_needs_the_csrf_token(self, till: Till, alices: Browser) -> None:
        assert alices.post("/credits/buy", {"sku": "PACK_5"}).status_code == 403
        assert not Purchase.objects.exists()

    def test_a_server_without_stripe_refuses_and_charges_nothing(
        self, alices: Browser, settings: Any
    ) -> None:
        settings.STRIPE_SECRET_KEY = ""
        answer = alices.fill("/credits", {"sku": "PACK_5"}, action="/credits/buy")
        assert answer["Location"] == "/credits"
        page = alices.get("/credits").content.decode()
        assert "Payments are not set up on this server. Nothing was charged." in page

    def test_the_success_page_shows_the_confirmed_state(
        self, till: Till, alice: User, alices: Browser
    ) -> None:
        session = till.buy(alice)
        where = f"/payment/success?session_id={session}"
        waiting = alices.get(where).content.decode()
        assert 'data-state="pending"' in waiting
        assert f"session_id={session}&amp;looks=1" in waiting
        till.catch_up()
        assert "Your balance is 5 credits" in alices.get(where).content.decode()
        # Other people with the address learn nothing about the account.
        stranger = Browser().get(where).content.decode()
        assert "5 credits added" in stranger
        assert "You have" not in stranger

    @pytest.mark.parametrize(
        "query", ["", "?session_id=", "?session_id=cs_x", "?looks=9"]
    )
    def test_an_unknown_session_id_is_not_found(self, db: None, query: str) -> None:
        assert Browser().get(f"/payment/success{query}").status_code == 404

    def test_a_bank_debit_is_processing_then_failed(
        self, till: Till, alice: User
    ) -> None:
        session = till.buy(alice, sepa_debit=True)
        till.catch_up()
        where = f"/payment/success?session_id={session}"
        assert 'data-state="processing"' in Browser().get(where).content.decode()
        till.stripe.control(f"checkout/{session}/settle", paid=False)
        till.catch_up()
        assert 'data-state="failed"' in Browser().get(where).content.decode()


SET = {"sku": "PACK_5", "threshold": "8", "ceiling": "20.50", "form": "cd34"}


class TestTopUp:
    def send(self, alices: Browser, action: str = "", **form: str) -> Any:
        return alices.fill("/credits", form, action=f"/credits/top-up{action}")

    def test_top_up_is_set_switched_on_changed_and_switched_off(
        self, till: Till, alice: User, alices: Browser
    ) -> None:
        first = self.send(alices, **SET, consent="yes")
        again = self.send(alices, **SET, consent="yes")
        purchase = Purchase.objects.get()
        assert purchase.url in first.content.decode()
        assert purchase.url in again.content.decode()
        waiting = alices.get("/credits").content.decode()
        assert "when your payment is confirmed" in waiting
        till.stripe.pay(str(purchase.stripe_session_id))
        till.catch_up()
        payments.tasks.top_up()
        page = alices.get("/credits").content.decode()
        assert "Charges your visa ending in 4242. $4.99 of $20.50 this month." in page
        assert credits_of(alice) == 10
        changed = self.send(alices, **SET | {"ceiling": "30"})
        assert changed["Location"] == "/credits#top-up"
        assert TopUpRule.objects.get().ceiling_cents == 3000
        self.send(alices, "/off")
        page = alices.get("/credits").content.decode()
        assert "Off: you switched it off. Your visa ending in 4242 stays saved" in page
        self.send(alices, "/off", forget="yes")
        assert "ending in" not in alices.get("/credits").content.decode()

    @pytest.mark.parametrize(
        "wrong",
        [
            {},
            {"consent": "on"},
            {"consent": "yes", "sku": "NONE"},
            {"consent": "yes", "threshold": "-1"},
            {"consent": "yes", "threshold": "1e3"},
            {"consent": "yes", "threshold": "٣"},
            {"consent": "yes", "ceiling": "4.98"},
            {"consent": "yes", "ceiling": "1,000"},
            {"consent": "yes", "ceiling": "NaN"},
            {"consent": "yes", "ceiling": "٣٣"},
            {"consent": "yes", "ceiling": "20.505"},
        ],
    )
    def test_an_invalid_form_changes_nothing(
        self, till: Till, alices: Browser, wrong: dict[str, str]
    ) -> None:
        assert self.send(alices, **SET | wrong)["Location"] == "/credits"
        assert "Nothing was charged" in alices.get("/credits").content.decode()
        assert not Purchase.objects.exists()
        assert not TopUpRule.objects.exists()

    @pytest.mark.parametrize("action", ["", "/off"])
    def test_a_change_needs_the_csrf_token(
        self, till: Till, alice: User, alices: Browser, action: str
    ) -> None:
        till.top_up(alice)
        sent = alices.post(f"/credits/top-up{action}", SET | {"ceiling": "40"})
        assert sent.status_code == 403
        rule = TopUpRule.objects.get()
        assert (rule.enabled, rule.ceiling_cents) == (True, 5000)

    def test_a_setting_belongs_to_one_account(
        self, till: Till, bob: User, alices: Browser
    ) -> None:
        till.top_up(bob)
        self.send(alices, "/off", forget="yes")
        assert TopUpRule.objects.get().enabled
        assert "ending in" not in alices.get("/credits").content.decode()

    def test_support_may_switch_top_up_off_and_a_viewer_may_not(
        self, till: Till, alice: User
    ) -> None:
        till.top_up(alice)
        payments.tasks.top_up()
        rule = TopUpRule.objects.get()
        act = {"action": "switch_off", "_selected_action": [rule.pk]}
        page = "/admin/payments/topuprule/"
        browser(in_role("viewer")).post(page, act)
        assert TopUpRule.objects.get().enabled
        staff = browser(in_role("support"))
        staff.post(page, act)
        assert TopUpRule.objects.get().off_because == "staff"
        event = SecurityEvent.objects.get(kind="top_up_switched_off")
        assert event.actor != "alice@example.com"
        shown = staff.get(f"{page}{rule.pk}/change/").content.decode()
        assert rule.stripe_payment_method_id not in shown
        attempt = TopUpAttempt.objects.get()
        listed = staff.get("/admin/payments/topupattempt/", {"q": str(attempt.pk)})
        assert "$4.99" in listed.content.decode()
        one = f"/admin/payments/topupattempt/{attempt.pk}/change/"
        assert staff.get(one).status_code == 200
        paid = staff.get("/admin/payments/payment/").content.decode()
        assert "pack PACK_5 (automatic top-up)" in paid


TABLES = (
    "pack",
    "plan",
    "purchase",
    "payment",
    "reversal",
    "subscription",
    "topuprule",
    "topupattempt",
    "stripeevent",
    "drift",
)


class TestStaff:
    @pytest.mark.parametrize("role", ["viewer", "support", "finance"])
    def test_every_role_reads_the_pages(
        self, till: Till, alice: User, role: str
    ) -> None:
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

    def test_two_live_subscriptions_are_listed_until_one_ends(
        self, till: Till, alice: User
    ) -> None:
        first = till.subscribe(alice)
        till.catch_up()
        customer = Customer.objects.get(account=alice)
        # Created by hand in Stripe's dashboard: our pages sell no second subscription.
        price = gateway.subscription(subscription_id=first).items[0].price
        of_customer: Any = {"customer": customer.stripe_customer_id}
        v1 = till.stripe.client.v1
        card = v1.payment_methods.attach("pm_card_visa", of_customer).id
        again: Any = {
            **of_customer,
            "items": [{"price": price}],
            "default_payment_method": card,
        }
        second = v1.subscriptions.create(again)
        till.catch_up()
        reconciliation.reconcile()
        page = "/admin/payments/drift/"
        staff = browser(in_role("finance"))
        listed = staff.get(page, {"q": str(alice.pk)}).content.decode()
        assert "2 live subscriptions: end all but one in Stripe" in listed
        only = {"kind__exact": "two_subscriptions", "healed_at__isempty": "1"}
        assert str(alice.pk) in staff.get(page, only).content.decode()
        till.stripe.control(f"subscriptions/{second.id}/end")
        till.catch_up()
        assert reconciliation.reconcile().drifts == []
        assert str(alice.pk) not in staff.get(page, only).content.decode()

    def test_an_event_processed_again_books_nothing_again(
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

    def test_finance_may_edit_packs_and_delete_none(self, db: None) -> None:
        finance = browser(in_role("finance"))
        pack = Pack.objects.get(sku="PACK_5")
        where = f"/admin/payments/pack/{pack.pk}/"
        form = {"sku": "X", "credits": 6, "price_cents": 599, "active": "on"}
        assert finance.post(f"{where}change/", form).status_code == 302
        pack.refresh_from_db()
        assert (pack.sku, pack.credits, pack.price_dollars) == ("PACK_5", 6, "$5.99")
        told = SecurityEvent.objects.get(kind="pack_changed").facts
        assert (told["credits"], told["price_cents"]) == (6, 599)
        assert finance.post(f"{where}delete/", {"post": "yes"}).status_code == 403
        support = browser(in_role("support"))
        assert support.post(f"{where}change/", form).status_code == 403

    @pytest.mark.parametrize("of", ["pro", "creator"])
    def test_a_price_of_another_plan_or_amount_is_refused(
        self, db: None, of: str
    ) -> None:
        cents = {"pro": 500, "creator": 900}[of]
        of_it = Plan.objects.get(slug=of)
        PlanPrice.objects.create(
            plan=of_it, stripe_price_id="price_1", price_cents=cents
        )
        pro = Plan.objects.get(slug="pro")
        form = {
            "name": pro.name,
            "price_cents": "900",
            "credits": "10",
            "rollover_months": "1",
            "features": "60s limit",
            "stripe_price_id": "price_1",
            "active": "on",
        }
        where = f"/admin/payments/plan/{pro.pk}/change/"
        answer = browser(in_role("finance")).post(where, form)
        assert answer.status_code == 200
        page = answer.content.decode()
        assert "This Price belongs to" in page or "This Price is" in page
        pro.refresh_from_db()
        assert pro.stripe_price_id == ""

    def test_a_changed_plan_price_creates_a_new_stripe_price(
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
        # Alice keeps her price and her plan.
        assert (credits_of(alice), credits_of(bob)) == (22, 12)
