"""Paged lists, plans among other prices, lost and malformed objects at Stripe.

None of these hides a payment, a plan, or the rest of a reconciliation.
"""

import json
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from payments import gateway, reconciliation, refunds
from payments.models import Customer, Drift, Payment, Plan, StripeEvent, TopUpRule
from payments.plans import catalog as plan_catalog
from payments.plans import choosing
from payments.plans import prices as plan_prices
from tests import top_ups
from tests.devtools.test_stripe_walks import monthly
from tests.till import Till, credits_of


def price(slug: str) -> str:
    return plan_prices.price_of(plan=Plan.objects.get(slug=slug))


def listed(kind: str) -> list[str]:
    rows = Drift.objects.filter(kind=kind, healed_at=None)
    return list(rows.values_list("subject", flat=True))


def customer_with_card(till: Till, user: User) -> tuple[str, str]:
    from payments import customers

    known = customers.ensure_customer(account=user)
    customer = str(known.stripe_customer_id)
    card = till.stripe.client.v1.payment_methods.attach(
        "pm_card_visa", {"customer": customer}
    )
    return customer, card.id


def subscribe_by_hand(till: Till, user: User, *prices: str) -> str:
    """Subscribe an account as staff may in Stripe's dashboard."""
    customer, card = customer_with_card(till, user)
    wanted: Any = {
        "customer": customer,
        "default_payment_method": card,
        "items": [{"price": price} for price in prices],
    }
    return str(till.stripe.client.v1.subscriptions.create(wanted).id)


class TestPages:
    def test_an_invoice_of_thirteen_lines_grants_its_month(
        self, till: Till, alice: User
    ) -> None:
        subscription = till.subscribe(alice, "creator")
        till.catch_up()
        item = gateway.subscription(subscription_id=subscription).items[0].id
        for slug in ("pro", "creator") * 3:
            change: Any = {"items": [{"id": item, "price": price(slug)}]}
            till.stripe.client.v1.subscriptions.update(subscription, change)
        till.stripe.control(f"subscriptions/{subscription}/renew")
        till.catch_up()
        payment = Payment.objects.latest("paid_at")
        invoice = gateway.invoice(invoice_id=str(payment.stripe_invoice_id))
        assert (len(invoice.lines), invoice.paid_cents) == (13, 1900)
        assert credits_of(alice) == 50
        assert reconciliation.reconcile().drifts == []

    def test_reconciliation_reads_all_lines_too(self, till: Till, alice: User) -> None:
        subscription = till.subscribe(alice, "creator")
        till.catch_up()
        item = gateway.subscription(subscription_id=subscription).items[0].id
        for slug in ("pro", "creator") * 3:
            change: Any = {"items": [{"id": item, "price": price(slug)}]}
            till.stripe.client.v1.subscriptions.update(subscription, change)
        till.stripe.control(f"subscriptions/{subscription}/renew")
        report = reconciliation.reconcile()
        assert report.drifts == []
        assert credits_of(alice) == 50

    def test_the_plan_is_the_eleventh_item(self, till: Till, alice: User) -> None:
        others = [monthly(till.stripe, 100 + n, f"Part {n}").id for n in range(10)]
        subscribe_by_hand(till, alice, *others, price("pro"))
        till.catch_up()
        assert plan_catalog.plan_of(account_id=alice.pk) == "pro"
        assert credits_of(alice) == 10

    def test_every_refund_of_a_payment_counts(self, till: Till, alice: User) -> None:
        intent = till.intent(till.buy(alice))
        till.catch_up()
        for _ in range(12):
            till.stripe.control(f"charges/{intent}/refund", amount=40)
        refunds.apply_reversals(payment_intent=intent)
        assert Payment.objects.get().taken_back_micro == 5_000_000 * 480 // 499


class TestPlansAmongOthers:
    def test_an_add_on_before_the_plan_does_not_hide_the_plan(
        self, till: Till, alice: User
    ) -> None:
        support = monthly(till.stripe, 500, "Support").id
        subscribe_by_hand(till, alice, support, price("pro"))
        till.catch_up()
        assert plan_catalog.plan_of(account_id=alice.pk) == "pro"
        assert credits_of(alice) == 10
        assert not StripeEvent.objects.filter(state="pending").exists()
        assert reconciliation.reconcile().drifts == []

    def test_of_two_plans_the_dearer_one_counts(self, till: Till, alice: User) -> None:
        subscribe_by_hand(till, alice, price("pro"), price("creator"))
        till.catch_up()
        assert plan_catalog.plan_of(account_id=alice.pk) == "creator"
        assert credits_of(alice) == 35

    def test_another_products_subscription_does_not_block_a_plan(
        self, till: Till, alice: User
    ) -> None:
        subscribe_by_hand(till, alice, monthly(till.stripe, 500, "Support").id)
        till.subscribe(alice)
        till.catch_up()
        assert plan_catalog.plan_of(account_id=alice.pk) == "pro"


class TestPaidAndNoCredits:
    def test_a_paid_invoice_without_a_plan_is_listed(
        self, till: Till, alice: User
    ) -> None:
        subscribe_by_hand(till, alice, monthly(till.stripe, 500, "Support").id)
        till.catch_up()
        [invoice] = listed("no_credits")
        assert invoice.startswith("in_")
        assert credits_of(alice) == 0
        reconciliation.reconcile()
        assert listed("no_credits") == [invoice]

    def test_reconciliation_lists_it_without_an_event(
        self, till: Till, alice: User
    ) -> None:
        subscribe_by_hand(till, alice, monthly(till.stripe, 500, "Support").id)
        till.new_events()
        StripeEvent.objects.all().delete()
        report = reconciliation.reconcile()
        assert "no_credits" in {drift.kind for drift in report.drifts}

    def test_a_difference_that_staff_settled_is_not_listed_again(
        self, till: Till, alice: User
    ) -> None:
        from payments import drifts

        subscribe_by_hand(till, alice, monthly(till.stripe, 500, "Support").id)
        till.catch_up()
        drift = Drift.objects.get(kind="no_credits")
        assert drifts.settle(drift_id=drift.pk, by="staff@example.com")
        reconciliation.reconcile()
        assert listed("no_credits") == []


class TestOneBadThing:
    """One failure does not stop the rest of the reconciliation."""

    def lost(self, till: Till, user: User) -> None:
        """Buy a pack, and lose its events."""
        till.buy(user)
        till.new_events()

    def healed(self, user: User) -> bool:
        return bool(credits_of(user) == 5)

    def test_an_invoice_that_cannot_be_read(
        self, till: Till, alice: User, bob: User
    ) -> None:
        subscription = till.subscribe(alice)
        till.catch_up()
        invoice = gateway.subscription(subscription_id=subscription).latest_invoice
        told = till.stripe.client.v1.invoices.retrieve(str(invoice)).to_dict()
        lines = json.loads(json.dumps(told["lines"], default=str))
        lines["data"][0]["period"]["end"] = 10**13
        till.stripe.control(f"objects/{invoice}/set", lines=lines)
        self.lost(till, bob)
        report = reconciliation.reconcile()
        assert str(invoice) in listed("unread")
        assert self.healed(bob)
        lines["data"][0]["period"]["end"] = int(timezone.now().timestamp())
        till.stripe.control(f"objects/{invoice}/set", lines=lines)
        assert reconciliation.reconcile().drifts == []
        assert report.looked_at

    @pytest.mark.parametrize("status", [400, 500])
    @pytest.mark.parametrize(
        "page", ["/v1/events", "/v1/invoices", "/v1/refunds", "/v1/payment_intents"]
    )
    def test_a_page_that_is_refused(
        self, till: Till, alice: User, page: str, status: int
    ) -> None:
        self.lost(till, alice)
        # The SDK sends a request three times if Stripe fails.
        till.fault(page, method="get", count=3, status=status)
        reconciliation.reconcile()
        assert listed("unread") != []
        assert self.healed(alice)
        assert reconciliation.reconcile().drifts == []
        assert listed("unread") == []

    def test_a_subscription_that_stripe_lost(
        self, till: Till, alice: User, bob: User
    ) -> None:
        subscription = till.subscribe(alice)
        till.catch_up()
        till.stripe.control(f"objects/{subscription}/forget")
        self.lost(till, bob)
        reconciliation.reconcile()
        assert plan_catalog.plan_of(account_id=alice.pk) == "free"
        assert self.healed(bob)

    def test_a_stripe_that_never_responds_ends_the_run_soon(
        self, till: Till, alice: User
    ) -> None:
        till.fault("/v1/", method="get", count=1000, status=503)
        asked = len(till.stripe.requests())
        with pytest.raises(gateway.StripeDown):
            reconciliation.reconcile()
        assert len(till.stripe.requests()) - asked == 9


class TestLost:
    """Objects that Stripe deleted, or that another account has."""

    def test_a_deleted_customer_is_replaced(self, till: Till, alice: User) -> None:
        till.subscribe(alice)
        till.catch_up()
        old = str(Customer.objects.get().stripe_customer_id)
        till.stripe.client.v1.customers.delete(old)
        till.catch_up()
        assert plan_catalog.plan_of(account_id=alice.pk) == "free"
        till.subscribe(alice, "creator")
        till.catch_up()
        assert plan_catalog.plan_of(account_id=alice.pk) == "creator"
        assert credits_of(alice) == 35
        assert Customer.objects.get().stripe_customer_id != old

    def test_the_portal_opens_for_a_new_customer(self, till: Till, alice: User) -> None:
        till.subscribe(alice)
        till.catch_up()
        old = str(Customer.objects.get().stripe_customer_id)
        till.stripe.client.v1.customers.delete(old)
        assert choosing.manage(account=alice).url

    def test_invoices_of_the_old_customer_still_credit_the_account(
        self, till: Till, alice: User
    ) -> None:
        till.subscribe(alice)
        old = str(Customer.objects.get().stripe_customer_id)
        till.stripe.client.v1.customers.delete(old)
        choosing.manage(account=alice)
        assert Customer.objects.get().stripe_customer_id != old
        till.catch_up()
        assert credits_of(alice) == 10

    def test_a_customer_deleted_twice_within_a_day(
        self, till: Till, alice: User
    ) -> None:
        seen = set()
        choosing.choose(account=alice, slug="pro")
        for _ in range(3):
            customer = str(Customer.objects.get().stripe_customer_id)
            seen.add(customer)
            till.stripe.client.v1.customers.delete(customer)
            choosing.choose(account=alice, slug="creator")
            choosing.choose(account=alice, slug="pro")
        assert len(seen) == 3

    @pytest.mark.parametrize("how", ["forget", "archive"])
    def test_a_lost_price_is_replaced_and_keeps_its_subscribers(
        self, till: Till, alice: User, bob: User, how: str
    ) -> None:
        subscription = till.subscribe(alice)
        till.catch_up()
        old = price("pro")
        if how == "forget":
            till.stripe.control(f"objects/{old}/forget")
        else:
            till.stripe.client.v1.prices.update(old, {"active": False})
        till.subscribe(bob)
        till.catch_up()
        assert price("pro") != old
        assert credits_of(bob) == 10
        if how == "archive":
            till.stripe.control(f"subscriptions/{subscription}/renew")
            till.catch_up()
            assert plan_catalog.plan_of(account_id=alice.pk) == "pro"
            assert credits_of(alice) == 20

    def test_an_entered_price_of_another_stripe_account_is_replaced(
        self, till: Till, alice: User
    ) -> None:
        Plan.objects.filter(slug="pro").update(stripe_price_id="price_foreign")
        till.subscribe(alice)
        till.catch_up()
        assert plan_catalog.plan_of(account_id=alice.pk) == "pro"

    def test_a_checkout_that_stripe_lost_is_replaced(
        self, till: Till, alice: User
    ) -> None:
        first = choosing.choose(account=alice, slug="pro")
        till.stripe.control(f"objects/{first.session_id}/forget")
        again = choosing.choose(account=alice, slug="pro")
        assert again.session_id != first.session_id
        till.stripe.control(f"objects/{again.session_id}/forget")
        assert choosing.choose(account=alice, slug="creator").url

    def test_a_refusal_is_not_repeated_once_its_cause_is_gone(
        self, till: Till, alice: User
    ) -> None:
        """Stripe keeps a response under its idempotency key, also a refusal."""
        from payments import packs

        purchase = packs.begin_purchase(account=alice, sku="PACK_5", once=None)
        alices_email, alice.email = alice.email, "not an address"
        purchase.account = alice
        with pytest.raises(gateway.StripeRefused):
            packs.open_checkout(purchase=purchase)
        alice.email = alices_email
        assert packs.open_checkout(purchase=purchase).url

    def test_a_replayed_refusal_is_retried_under_another_key(
        self, till: Till, alice: User
    ) -> None:
        """The same request: its price is missing first, and exists later."""
        params: Any = {"mode": "subscription", "success_url": "https://a.example/"}
        pro = price("pro")
        kept = till.stripe.control(f"objects/{pro}/forget")
        params["line_items"] = [{"price": pro, "quantity": 1}]
        with pytest.raises(gateway.Missing):
            gateway.create_session(params=params, key="k-1")
        till.stripe.control(f"objects/{pro}/restore", **kept)
        assert gateway.create_session(params=params, key="k-1").url

    def test_a_card_lost_with_its_customer_needs_a_new_checkout(
        self, till: Till, alice: User
    ) -> None:
        till.top_up(alice)
        old = str(Customer.objects.get().stripe_customer_id)
        till.stripe.client.v1.customers.delete(old)
        top_ups.run()
        rule = TopUpRule.objects.get()
        assert (rule.off_because, rule.stripe_payment_method_id) == ("card", "")
        till.top_up(alice, threshold=12)
        assert TopUpRule.objects.get().enabled
        assert Customer.objects.get().stripe_customer_id != old
        top_ups.make_due()
        top_ups.run()
        assert top_ups.statuses() == ["cancelled", "paid"]
        assert credits_of(alice) == 15
