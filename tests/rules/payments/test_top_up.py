"""Automatic top-up: setting it, the start of a charge, and refusals."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.utils import timezone

from accounts.models import App, Mail, User
from payments import reconciliation
from payments.models import Pack, Payment, Purchase, TopUpAttempt, TopUpRule
from payments.topups import charging
from payments.topups import setup as topup_setup
from tests.rules.payments.test_refunds import spend
from tests.till import Till, credits_of
from tests.top_ups import (
    INTENTS,
    charged,
    mail_subjects,
    make_due,
    next_charge,
    run,
    statuses,
)
from wallet import invariants


@pytest.mark.django_db
class TestSetting:
    def set_up(self, user: User, **more: Any) -> Any:
        given: dict[str, Any] = {
            "account": user,
            "sku": "PACK_5",
            "threshold": 8,
            "ceiling_cents": 5000,
            "consent": True,
            "once": None,
        }
        return topup_setup.set_up(**{**given, **more})

    def test_without_a_rule_no_card_is_charged(self, till: Till, alice: User) -> None:
        till.buy(alice)
        till.catch_up()
        run()
        assert not TopUpAttempt.objects.exists()
        assert credits_of(alice) == 5

    @pytest.mark.parametrize(
        "wrong",
        [
            {"threshold": 0},
            {"threshold": 1_000_001},
            {"ceiling_cents": 498},
            {"ceiling_cents": 100_000_000},
        ],
    )
    def test_thresholds_and_ceilings_out_of_range_are_refused(
        self, till: Till, alice: User, wrong: dict[str, int]
    ) -> None:
        with pytest.raises(topup_setup.BadTopUp):
            self.set_up(alice, **wrong)
        assert not TopUpRule.objects.exists()

    def test_no_card_is_kept_without_consent(self, till: Till, alice: User) -> None:
        with pytest.raises(topup_setup.NoConsent):
            self.set_up(alice, consent=False)
        assert not Purchase.objects.exists()

    def test_an_ordinary_purchase_saves_no_card(self, till: Till, alice: User) -> None:
        till.buy(alice)
        [asked] = [
            it
            for it in till.stripe.requests("/v1/checkout/sessions")
            if it["method"] == "post"
        ]
        assert "setup_future_usage" not in str(asked["params"])

    def test_the_rule_is_off_until_its_checkout_is_paid(
        self, till: Till, alice: User
    ) -> None:
        self.set_up(alice)
        run()
        assert not TopUpRule.objects.get().enabled

    def test_paying_saves_the_card_and_switches_the_rule_on(
        self, till: Till, alice: User
    ) -> None:
        till.top_up(alice)
        rule = TopUpRule.objects.get()
        assert (rule.enabled, rule.card) == (True, "visa ending in 4242")
        assert topup_setup.save_cards() == 0

    def test_a_rule_switched_off_before_the_payment_stays_off(
        self, till: Till, alice: User
    ) -> None:
        way = self.set_up(alice)
        topup_setup.switch_off(account=alice)
        till.stripe.pay(way.purchase.stripe_session_id)
        till.catch_up()
        run()
        rule = TopUpRule.objects.get()
        assert (rule.enabled, rule.off_because) == (False, "person")
        assert not TopUpAttempt.objects.exists()

    def test_with_a_saved_card_the_rule_changes_at_once(
        self, till: Till, alice: User
    ) -> None:
        till.top_up(alice)
        topup_setup.switch_off(account=alice)
        run()
        assert not TopUpAttempt.objects.exists()
        assert self.set_up(alice, threshold=3, consent=False) is None
        rule = TopUpRule.objects.get()
        assert (rule.enabled, rule.threshold_micro) == (True, 3_000_000)

    def test_a_forgotten_card_is_detached_at_stripe_too(
        self, till: Till, alice: User
    ) -> None:
        till.top_up(alice)
        card = TopUpRule.objects.get().stripe_payment_method_id
        topup_setup.forget_card(account=alice)
        topup_setup.forget_card(account=alice)
        rule = TopUpRule.objects.get()
        assert (rule.enabled, rule.card, rule.stripe_payment_method_id) == (
            False,
            "",
            "",
        )
        methods = till.stripe.client.v1.payment_methods
        assert methods.retrieve(card).customer is None
        with pytest.raises(topup_setup.NoConsent):
            self.set_up(alice, consent=False)


@pytest.mark.django_db
class TestCharging:
    def test_below_the_threshold_the_pack_is_bought_once(
        self, till: Till, alice: User
    ) -> None:
        till.top_up(alice)
        run()
        assert (statuses(), credits_of(alice), charged(till)) == (["paid"], 10, 1)
        # The webhook and the reconciliation report the same payment again.
        till.catch_up()
        assert reconciliation.reconcile().drifts == []
        run()
        assert (Payment.objects.count(), credits_of(alice)) == (2, 10)
        assert mail_subjects() == ["Your credits were topped up"]
        assert invariants.violations() == []

    def test_at_the_threshold_nothing_is_bought(self, till: Till, alice: User) -> None:
        till.top_up(alice, threshold=5)
        run()
        assert statuses() == []

    def test_attempts_respect_the_cool_down(
        self, till: Till, alice: User, video: App
    ) -> None:
        till.top_up(alice)
        run()
        spend(alice, video, 9)
        run()
        assert statuses() == ["paid"]
        make_due()
        run()
        assert statuses() == ["paid", "paid"]

    def test_spending_while_an_attempt_is_pending_begins_no_other(
        self, till: Till, alice: User, video: App
    ) -> None:
        till.top_up(alice)
        till.fault(INTENTS, method="post", count=3, status=503)
        run()
        spend(alice, video, 5)
        TopUpRule.objects.update(not_before=timezone.now())
        charging.begin_due()
        assert statuses() == ["pending"]
        make_due()
        charging.charge_due()
        assert (statuses(), credits_of(alice), charged(till)) == (["paid"], 5, 1)

    def test_a_pending_bank_debit_counts_as_credits(
        self, till: Till, alice: User
    ) -> None:
        till.top_up(alice)
        till.buy(alice, sepa_debit=True)
        till.catch_up()
        run()
        assert statuses() == []

    def test_an_account_in_debt_is_not_charged(
        self, till: Till, alice: User, video: App
    ) -> None:
        till.top_up(alice)
        spend(alice, video, 5)
        first = Payment.objects.get()
        TopUpRule.objects.update(switched_on_at=timezone.now() + timedelta(hours=1))
        till.stripe.control(f"charges/{first.stripe_payment_intent_id}/refund")
        till.catch_up()
        assert credits_of(alice) == -5
        run()
        assert statuses() == []

    def test_a_closed_account_is_not_charged_and_its_card_forgotten(
        self, till: Till, alice: User
    ) -> None:
        till.top_up(alice)
        User.objects.update(is_active=False)
        run()
        assert statuses() == []
        assert topup_setup.forget_unowned_cards() == 1
        assert topup_setup.forget_unowned_cards() == 0
        assert TopUpRule.objects.get().stripe_payment_method_id == ""

    def test_a_new_owner_of_an_account_does_not_get_its_card(
        self, till: Till, alice: User
    ) -> None:
        till.top_up(alice)
        User.objects.update(epoch=1)
        alice.refresh_from_db()
        run()
        assert statuses() == []
        assert topup_setup.rule_of(account=alice) is None
        card = TopUpRule.objects.get().stripe_payment_method_id
        with pytest.raises(topup_setup.NoConsent):
            TestSetting().set_up(alice, consent=False)
        methods = till.stripe.client.v1.payment_methods
        assert methods.retrieve(card).customer is None

    def test_a_card_that_cannot_be_saved_delays_no_other_account(
        self, till: Till, alice: User, bob: User
    ) -> None:
        till.top_up(bob)
        TestSetting().set_up(alice)
        purchase = Purchase.objects.get(account=alice)
        till.stripe.pay(str(purchase.stripe_session_id))
        till.catch_up()
        Payment.objects.filter(account=alice).update(stripe_payment_intent_id="pi_x")
        run()
        assert TopUpRule.objects.get(account=alice).saving is None
        assert credits_of(bob) == 10

    @pytest.mark.parametrize("change", [{"price_cents": 599}, {"active": False}])
    def test_a_changed_pack_switches_the_rule_off(
        self, till: Till, alice: User, change: dict[str, Any]
    ) -> None:
        till.top_up(alice)
        Pack.objects.update(**change)
        run()
        rule = TopUpRule.objects.get()
        assert (rule.enabled, rule.off_because, statuses()) == (False, "pack", [])
        assert mail_subjects() == ["Automatic top-up was switched off"]

    def test_a_rule_switched_off_before_the_charge_cancels_it(
        self, till: Till, alice: User
    ) -> None:
        till.top_up(alice)
        charging.begin_due()
        topup_setup.switch_off(account=alice)
        charging.charge_due()
        assert (statuses(), charged(till)) == (["cancelled"], 0)

    def test_after_a_day_without_a_response_no_charge_is_retried(
        self, till: Till, alice: User
    ) -> None:
        till.top_up(alice)
        charging.begin_due()
        TopUpAttempt.objects.update(
            created_at=timezone.now() - timedelta(hours=24), tries=3
        )
        charging.charge_due()
        assert (statuses(), charged(till)) == (["cancelled"], 0)

    def test_the_database_refuses_two_pending_attempts(
        self, till: Till, alice: User
    ) -> None:
        till.top_up(alice)
        charging.begin_due()
        row = TopUpAttempt.objects.get()
        row.pk, row._state.adding = Purchase().pk, True
        with pytest.raises(IntegrityError, match="one_pending_top_up_per_account"):
            row.save(force_insert=True)

    def test_due_rules_are_found_by_an_index(self, till: Till, alice: User) -> None:
        with connection.cursor() as cursor:
            # With few rows the planner may scan or sort; both would be slow for many.
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_sort = off")
        assert "top_ups_on" in charging._due_rules().explain()


@pytest.mark.django_db
class TestRefusals:
    def test_declines_back_off_an_hour_then_a_day_then_end_the_rule(
        self, till: Till, alice: User
    ) -> None:
        till.top_up(alice)
        next_charge(till, "insufficient_funds", always=True)
        for wait in (timedelta(hours=1), timedelta(days=1)):
            before = timezone.now()
            run()
            rule = TopUpRule.objects.get()
            assert rule.enabled
            assert before + wait <= rule.not_before <= timezone.now() + wait
            run()
            make_due()
        run()
        assert statuses() == ["declined"] * 3
        rule = TopUpRule.objects.get()
        assert (rule.enabled, rule.off_because) == (False, "declined")
        assert mail_subjects() == [
            "Your automatic top-up was declined",
            "Your automatic top-up was declined",
            "Automatic top-up was switched off",
        ]
        make_due()
        run()
        assert (len(statuses()), credits_of(alice)) == (3, 5)
        till.catch_up()
        assert credits_of(alice) == 5

    def test_an_expired_card_switches_the_rule_off_at_once(
        self, till: Till, alice: User
    ) -> None:
        till.top_up(alice)
        next_charge(till, "expired_card")
        run()
        assert not TopUpRule.objects.get().enabled

    def test_a_paid_charge_resets_the_declines(self, till: Till, alice: User) -> None:
        till.top_up(alice)
        next_charge(till, "insufficient_funds")
        run()
        make_due()
        run()
        assert statuses() == ["declined", "paid"]
        assert TopUpRule.objects.get().declines == 0

    def test_a_card_removed_at_stripe_switches_it_off(
        self, till: Till, alice: User
    ) -> None:
        till.top_up(alice)
        card = TopUpRule.objects.get().stripe_payment_method_id
        till.stripe.client.v1.payment_methods.detach(card)
        TopUpRule.objects.update(stripe_payment_method_id="pm_gone")
        run()
        rule = TopUpRule.objects.get()
        assert (rule.off_because, statuses()) == ("card", ["cancelled"])

    def test_a_charge_that_needs_authentication_continues_in_a_checkout(
        self, till: Till, alice: User
    ) -> None:
        till.top_up(alice, card="4000 0027 6000 3184")
        run()
        assert statuses() == ["authentication"]
        rule = TopUpRule.objects.get()
        assert (rule.enabled, rule.off_because) == (False, "authentication")
        letter = Mail.objects.get(subject="Your top-up needs your confirmation")
        assert "/credits" in letter.body
        # The old intent can no longer be paid.
        intent = TopUpAttempt.objects.get().stripe_payment_intent_id
        intents = till.stripe.client.v1.payment_intents
        assert intents.retrieve(str(intent)).status == "canceled"
        make_due()
        run()
        assert len(statuses()) == 1
        way = topup_setup.set_up(
            account=alice,
            sku="PACK_5",
            threshold=8,
            ceiling_cents=5000,
            consent=True,
            another_card=True,
            once=None,
        )
        assert way is not None
        till.stripe.pay(str(way.purchase.stripe_session_id))
        till.catch_up()
        topup_setup.save_cards()
        assert TopUpRule.objects.get().enabled
        assert (credits_of(alice), charged(till)) == (10, 0)
