"""The money of automatic top-ups: credited once, within the ceiling, and refunded."""

from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine
from django.db.models import F
from django.utils import timezone

from accounts.models import App, User
from payments import inbox, packs, reconciliation
from payments.models import Pack, Payment, TopUpAttempt, TopUpRule
from payments.stripe_objects import Intent
from payments.topups import charging, outcomes
from tests.rules.payments.test_refunds import at_once, spend
from tests.till import Till, credits_of
from tests.top_ups import INTENTS, charged, mail_subjects, make_due, run, statuses
from wallet import invariants
from wallet.models import Entry


@pytest.mark.django_db
class TestMoneyBack:
    @pytest.mark.parametrize("how", ["refund", "dispute"])
    def test_a_reversal_takes_the_credits_and_ends_the_rule(
        self, till: Till, alice: User, how: str
    ) -> None:
        till.top_up(alice)
        run()
        payment = Payment.objects.get(top_up__isnull=False)
        till.stripe.control(f"charges/{payment.stripe_payment_intent_id}/{how}")
        till.catch_up()
        assert credits_of(alice) == 5
        make_due()
        run()
        rule = TopUpRule.objects.get()
        assert (rule.off_because, statuses()) == ("reversed", ["paid"])
        assert invariants.violations() == []

    @pytest.mark.parametrize("left", ["above the threshold", "in debt"])
    def test_a_reversal_switches_the_rule_off_at_any_balance(
        self, till: Till, alice: User, video: App, give: Any, left: str
    ) -> None:
        """The owner must not see "on" for a rule that never charges again."""
        till.top_up(alice)
        run()
        if left == "above the threshold":
            give(alice, 1000)
        else:
            spend(alice, video, int(credits_of(alice)))
        payment = Payment.objects.get(top_up__isnull=False)
        till.stripe.control(f"charges/{payment.stripe_payment_intent_id}/refund")
        till.catch_up()
        run()
        rule = TopUpRule.objects.get()
        assert (rule.enabled, rule.off_because) == (False, "reversed")
        assert mail_subjects()[-1] == "Automatic top-up was switched off"
        [attempt] = charging.latest_attempts(account_id=alice.pk)
        assert attempt.refunded
        run()
        assert mail_subjects().count("Automatic top-up was switched off") == 1

    def test_a_changed_pack_switches_the_rule_off_at_any_balance(
        self, till: Till, alice: User, give: Any
    ) -> None:
        till.top_up(alice)
        run()
        give(alice, 1000)
        Pack.objects.update(price_cents=F("price_cents") + 1)
        run()
        rule = TopUpRule.objects.get()
        assert (rule.enabled, rule.off_because) == (False, "pack")

    def test_a_refund_event_before_its_payment_event(
        self, till: Till, alice: User
    ) -> None:
        till.top_up(alice)
        till.fault(INTENTS, method="post", count=3, lose_answer=True)
        run()
        [intent] = till.new_events("payment_intent.succeeded")[-1:]
        till.stripe.control(f"charges/{intent.data.object.id}/refund")
        for event in reversed(till.new_events()):
            till.post_events([event])
            inbox.handle_due()
        assert (statuses(), credits_of(alice)) == (["paid"], 5)


@pytest.mark.django_db
class TestHearing:
    def lost(self, till: Till, alice: User) -> None:
        """Charge the card, and lose Stripe's response."""
        till.top_up(alice)
        till.fault(INTENTS, method="post", count=3, lose_answer=True)
        run()
        assert (statuses(), charged(till), credits_of(alice)) == (["pending"], 1, 5)

    def once(self, till: Till, alice: User) -> None:
        make_due()
        run()
        till.catch_up()
        assert reconciliation.reconcile().drifts == []
        assert (statuses(), charged(till), credits_of(alice)) == (["paid"], 1, 10)
        assert Entry.objects.count() == 2

    def test_by_webhook(self, till: Till, alice: User) -> None:
        self.lost(till, alice)
        till.catch_up()
        assert credits_of(alice) == 10
        self.once(till, alice)

    def test_by_reconciliation(self, till: Till, alice: User) -> None:
        self.lost(till, alice)
        reconciliation.reconcile()
        assert credits_of(alice) == 10
        self.once(till, alice)

    def test_by_looking_up_the_intent(self, till: Till, alice: User) -> None:
        self.lost(till, alice)
        make_due()
        charging.charge_due()
        assert credits_of(alice) == 10
        self.once(till, alice)

    def test_a_wrong_amount_in_our_books_is_listed(
        self, till: Till, alice: User
    ) -> None:
        till.top_up(alice)
        run()
        Payment.objects.filter(top_up__isnull=False).update(amount_cents=100)
        [drift] = reconciliation.reconcile().drifts
        assert drift.kind == "not_paid"


@pytest.mark.django_db
class TestCeiling:
    def at(self, when: str) -> Any:
        return time_machine.travel(f"{when}+00:00", tick=False)

    def begin(self) -> int:
        TopUpRule.objects.update(
            not_before=timezone.now(), switched_on_at=timezone.now()
        )
        return charging.begin_due()

    def end(self, status: str = "paid") -> None:
        TopUpAttempt.objects.filter(status="pending").update(
            status=status, due_at=None, ended_at=timezone.now()
        )

    def test_charges_of_a_month_stay_within_the_ceiling(
        self, till: Till, alice: User
    ) -> None:
        till.top_up(alice, ceiling_cents=1000)
        with self.at("2026-10-31 23:58"):
            assert self.begin() == 1
            self.end()
            assert self.begin() == 1
            self.end()
            assert self.begin() == 0
            rule = TopUpRule.objects.get()
            assert rule.not_before == datetime(2026, 11, 1, tzinfo=UTC)
            assert rule.enabled
        with self.at("2026-11-01 00:00"):
            assert self.begin() == 1

    def test_a_charge_that_spans_two_months_counts_in_both(
        self, till: Till, alice: User
    ) -> None:
        till.top_up(alice, ceiling_cents=499)
        with self.at("2026-10-31 23:59"):
            assert self.begin() == 1
        with self.at("2026-11-01 00:01"):
            assert charging.spent_cents(account_id=alice.pk, at=timezone.now()) == 499
            self.end()
            assert self.begin() == 0
        with self.at("2026-12-01 00:00"):
            assert self.begin() == 1

    def test_declined_charges_do_not_count(self, till: Till, alice: User) -> None:
        till.top_up(alice, ceiling_cents=499)
        with self.at("2026-10-15 12:00"):
            assert self.begin() == 1
            self.end("declined")
            assert self.begin() == 1

    def test_after_december_the_rule_waits_for_january(
        self, till: Till, alice: User
    ) -> None:
        till.top_up(alice, ceiling_cents=499)
        with self.at("2026-12-31 12:00"):
            assert self.begin() == 1
            self.end()
            assert self.begin() == 0
        assert TopUpRule.objects.get().not_before == datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.django_db
class TestStalledWorkers:
    def claims(self, till: Till, alice: User) -> list[TopUpAttempt]:
        """Return a worker's claim after its lease has ended, and the next claim."""
        till.top_up(alice)
        charging.begin_due()
        stalled = charging.QUEUE.claim()
        make_due()
        second = charging.QUEUE.claim()
        assert stalled is not None
        assert second is not None
        return [stalled, second]

    def test_one_ends_no_attempt_that_the_next_worker_charges(
        self, till: Till, alice: User
    ) -> None:
        stalled, second = self.claims(till, alice)
        # The stalled worker read the rule while it was off for a moment.
        late = outcomes.end_attempt(
            attempt=stalled, status="cancelled", reason="switched off"
        )
        assert late is False
        charging._back_off(stalled, "late")
        row = TopUpAttempt.objects.get()
        assert (row.status, row.reason, row.lease) == ("pending", "", second.lease)
        assert charging._advance(second) is True
        assert (statuses(), charged(till)) == (["paid"], 1)
        assert TopUpAttempt.objects.get().lease is None

    def test_one_cancels_no_payment_that_the_next_worker_follows(
        self, till: Till, alice: User
    ) -> None:
        stalled, _ = self.claims(till, alice)
        it = {"id": "pi_next", "status": "requires_action", "currency": "usd"}
        asked = len(till.stripe.requests())
        assert charging._follow(stalled, Intent.from_stripe(it)) is False
        assert len(till.stripe.requests()) == asked
        assert TopUpAttempt.objects.get().stripe_payment_intent_id is None


@pytest.mark.django_db(transaction=True)
class TestRaces:
    def test_concurrent_workers_begin_one_attempt_within_the_ceiling(
        self, till: Till, alice: User, video: App
    ) -> None:
        till.top_up(alice, threshold=1000, ceiling_cents=12 * 499)

        def work() -> int:
            begun = charging.begin_due()
            charging.charge_due()
            return begun

        begun = []
        for _ in range(20):
            make_due()
            begun.append(sum(at_once(8, [work] * 8)))
            assert TopUpAttempt.objects.filter(status="pending").count() <= 1
        charging.charge_due()
        assert max(begun) == 1
        assert statuses() == ["paid"] * 12
        assert (charged(till), credits_of(alice)) == (12, 65)
        till.catch_up()
        assert (Payment.objects.count(), credits_of(alice)) == (13, 65)
        assert invariants.violations() == []

    def test_worker_webhook_and_reconciliation_at_once_credit_once(
        self, till: Till, alice: User
    ) -> None:
        till.top_up(alice)
        charging.begin_due()
        till.fault(INTENTS, method="post", count=3, lose_answer=True)
        charging.charge_due()
        till.post_events(till.new_events())
        make_due()
        calls: list[Any] = [
            charging.charge_due,
            inbox.handle_due,
            reconciliation.reconcile,
        ]
        at_once(8, [*calls, *calls, *calls][:8])
        inbox.handle_due()
        assert (statuses(), credits_of(alice), charged(till)) == (["paid"], 10, 1)
        assert Payment.objects.count() == Entry.objects.count() == 2
        assert packs.on_sale().count() == 1
        assert invariants.violations() == []
