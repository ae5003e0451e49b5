"""Refunds and disputes: exact shares, debt, both on one charge, races."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import App, User
from accounts.partners import consents
from focus.money import MICRO
from jobs import lifecycle
from payments import inbox, reconciliation, refunds, stripe_objects
from payments.models import Drift, Payment, Purchase, Reversal, StripeEvent
from tests.contracts.reviv.test_refresh import bearer, sign_in
from tests.till import Till, credits_of, post
from wallet import invariants, ledger
from wallet.models import Entry

cents = st.integers(1, 10**8)
micros = st.integers(1, 10**15)


@given(granted=micros, amount=cents, parts=st.lists(cents, max_size=8))
def test_parts_never_take_more_than_the_whole_and_the_last_takes_the_rest(
    granted: int, amount: int, parts: list[int]
) -> None:
    taken, back = [], 0
    for part in parts:
        back = min(amount, back + part)
        taken.append(
            refunds.due_back_micro(
                granted_micro=granted, amount_cents=amount, reversed_cents=back
            )
        )
    assert taken == sorted(taken)
    assert all(0 <= it <= granted for it in taken)
    if back == amount:
        assert taken[-1] == granted


def spend(user: User, app: App, amount: int) -> None:
    consents.grant(user=user, app_id=app.pk)
    ledger.consume(
        account_id=user.pk,
        app=app,
        amount_micro=amount * MICRO,
        actor="test",
        reason="",
        key=f"spent:{user.pk}:{amount}",
    )


@pytest.mark.django_db
class TestSpent:
    def test_spent_credits_become_debt_that_later_payments_repay_first(
        self, till: Till, alice: User, video: App
    ) -> None:
        session = till.buy(alice)
        till.catch_up()
        spend(alice, video, 4)
        till.stripe.control(f"charges/{till.intent(session)}/refund")
        till.catch_up()
        assert credits_of(alice) == -4
        till.buy(alice)
        till.catch_up()
        assert credits_of(alice) == 1
        assert invariants.violations() == []

    def test_a_won_dispute_removes_its_debt(
        self, till: Till, alice: User, video: App
    ) -> None:
        session = till.buy(alice)
        till.catch_up()
        spend(alice, video, 4)
        made = till.stripe.control(f"charges/{till.intent(session)}/dispute")
        till.catch_up()
        assert credits_of(alice) == -4
        till.stripe.control(f"disputes/{made['id']}/win")
        till.catch_up()
        assert credits_of(alice) == 1
        as_alice = bearer(sign_in(alice).access_token)
        rows = as_alice.get("/api/credits/transactions/").json()
        assert sum(row["amount"] for row in rows) == 1
        assert {row["transaction_type"] for row in rows} == {
            "purchase",
            "usage",
            "refund",
        }
        assert invariants.violations() == []

    def test_a_refund_leaves_reserved_credits_with_their_job(
        self, till: Till, alice: User, video: App
    ) -> None:
        session = till.buy(alice)
        till.catch_up()
        lifecycle.start(
            account_id=alice.pk,
            app=video,
            action="x",
            estimate_micro=5 * MICRO,
            metadata={},
            actor="test",
        )
        till.stripe.control(f"charges/{till.intent(session)}/refund")
        till.catch_up()
        balance = ledger.balance(account_id=alice.pk)
        assert (balance.reserved_micro, balance.debt_micro) == (5 * MICRO, 5 * MICRO)


@pytest.mark.django_db
class TestOthers:
    def test_payments_of_other_products_on_the_stripe_account_are_ignored(
        self, till: Till, alice: User
    ) -> None:
        intents = till.stripe.client.v1.payment_intents
        made = intents.create(
            {
                "amount": 900,
                "currency": "usd",
                "confirm": True,
                "payment_method": "pm_card_visa",
            }
        )
        till.stripe.control(f"charges/{made.id}/refund")
        till.catch_up()
        assert not Entry.objects.exists()
        assert set(StripeEvent.objects.values_list("state", flat=True)) <= {
            "done",
            "ignored",
        }
        assert reconciliation.reconcile().drifts == []

    def test_an_unknown_event_is_kept_and_ignored(self, till: Till) -> None:
        body = {
            "id": "evt_new",
            "object": "event",
            "type": "robot.created",
            "created": 1,
            "data": {"object": {"id": "rb_1", "object": "robot"}},
        }
        assert post(json.dumps(body)) == 200
        inbox.handle_due()
        row = StripeEvent.objects.get()
        assert (row.state, row.due_at) == ("ignored", None)

    def test_while_stripe_is_down_events_wait_after_one_request(
        self, till: Till, alice: User
    ) -> None:
        till.buy(alice)
        till.buy(alice)
        till.post_events(till.new_events("checkout.session.completed"))
        till.fault("/v1/checkout/sessions/", method="get", count=3, status=503)
        assert inbox.handle_due() == 0
        assert sorted(StripeEvent.objects.values_list("tries", flat=True)) == [0, 1]
        assert inbox.handle_due() == 1
        StripeEvent.objects.filter(state="pending").update(due_at=timezone.now())
        assert inbox.handle_due() == 1
        assert credits_of(alice) == 10

    def test_stored_events_have_no_client_secret(self, till: Till, alice: User) -> None:
        till.buy(alice)
        till.post_events(till.new_events("payment_intent.succeeded"))
        body = StripeEvent.objects.get().body
        assert '"client_secret": "***"' in body

    def test_a_payment_of_a_wrong_amount_grants_no_credits(
        self, till: Till, alice: User
    ) -> None:
        till.buy(alice)
        Purchase.objects.update(price_cents=500)
        till.post_events(till.new_events())
        inbox.handle_due()
        row = StripeEvent.objects.get(type="checkout.session.completed")
        assert row.state == "pending"
        assert "WrongAmount" in row.outcome
        assert not Entry.objects.exists()
        report = reconciliation.reconcile()
        assert [drift.kind for drift in report.drifts] == ["not_credited"]
        Purchase.objects.update(price_cents=499)
        assert reconciliation.reconcile().drifts == []
        assert credits_of(alice) == 5
        assert Drift.objects.get().healed_at is not None


@pytest.mark.django_db
class TestReconciling:
    def test_a_payment_that_stripe_does_not_have_is_listed(
        self, till: Till, alice: User
    ) -> None:
        session = till.buy(alice)
        till.catch_up()
        Payment.objects.update(amount_cents=100)
        [drift] = reconciliation.reconcile().drifts
        assert (drift.kind, drift.subject) == ("not_paid", session)
        assert reconciliation.reconcile().drifts == [drift]

    def test_a_refund_without_an_event_is_repaired(
        self, till: Till, alice: User
    ) -> None:
        session = till.buy(alice)
        till.catch_up()
        till.stripe.control(f"charges/{till.intent(session)}/refund", amount=499)
        report = reconciliation.reconcile()
        assert report.healed
        assert credits_of(alice) == 0
        assert reconciliation.reconcile().healed == []

    def test_a_difference_that_was_not_compared_stays_open(
        self, till: Till, alice: User
    ) -> None:
        session = till.buy(alice)
        till.catch_up()
        Payment.objects.update(
            amount_cents=100, paid_at=timezone.now() - timedelta(days=20)
        )
        [drift] = reconciliation.reconcile(days=25).drifts
        assert drift.subject == session
        assert reconciliation.reconcile(days=3).drifts == []
        assert Drift.objects.get().healed_at is None
        Payment.objects.update(amount_cents=499)
        assert reconciliation.reconcile(days=25).drifts == []
        assert Drift.objects.get().healed_at is not None

    def test_an_unknown_status_does_not_stop_the_comparison(
        self, till: Till, alice: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        intent = till.intent(till.buy(alice))
        till.stripe.control(f"charges/{intent}/refund", amount=499)
        monkeypatch.delitem(stripe_objects.REFUND_COUNTS, "succeeded")
        [drift] = reconciliation.reconcile().drifts
        assert (drift.kind, drift.subject) == ("reversal", intent)

    def test_an_invoice_without_a_known_payment_intent_can_be_refunded(
        self, till: Till, alice: User
    ) -> None:
        till.subscribe(alice)
        till.catch_up()
        payment = Payment.objects.get()
        Payment.objects.update(stripe_payment_intent_id=None)
        till.stripe.control(f"charges/{payment.stripe_payment_intent_id}/refund")
        till.catch_up()
        assert credits_of(alice) == 0


@pytest.mark.django_db(transaction=True)
class TestRaces:
    def test_two_hundred_copies_of_one_event_move_credits_once(
        self, till: Till, alice: User
    ) -> None:
        till.buy(alice)
        events = till.new_events("checkout.session.completed")
        body = json.dumps(events[0].to_dict(), default=str)
        statuses = at_once(16, [lambda: post(body)] * 200)
        assert statuses == [200] * 200
        assert StripeEvent.objects.count() == 1
        assert sum(at_once(8, [inbox.handle_due] * 8)) == 1
        assert Entry.objects.count() == 1
        assert credits_of(alice) == 5

    def test_concurrent_workers_move_the_credits_of_one_payment_once(
        self, till: Till, alice: User
    ) -> None:
        session = till.buy(alice)
        intent = till.intent(session)
        till.stripe.control(f"charges/{intent}/refund", amount=100)
        till.stripe.control(f"charges/{intent}/dispute")

        def work() -> str:
            try:
                return refunds.apply_reversals(payment_intent=intent)
            except refunds.PaymentContended:
                return "contended"

        at_once(8, [work] * 8)
        refunds.apply_reversals(payment_intent=intent)
        payment = Payment.objects.get()
        assert payment.taken_back_micro == payment.granted_micro == 5 * MICRO
        assert Reversal.objects.count() == 2
        assert credits_of(alice) == 0
        assert invariants.violations() == []


def at_once(threads: int, calls: list[Any]) -> list[Any]:
    """Run the calls in so many threads, which start together. Returns their results."""
    gate = threading.Barrier(min(threads, len(calls)), timeout=30)
    first = threading.local()

    def run(call: Any) -> Any:
        try:
            if not hasattr(first, "done"):
                first.done = True
                gate.wait()
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, calls))
