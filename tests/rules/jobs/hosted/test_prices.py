"""Prices of hosted work: what is reserved, what is free, and what a run costs."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.credentials import app_keys
from accounts.credentials.principals import AppInactive
from accounts.models import App, Consent, User
from accounts.partners import consents, first_party
from accounts.partners.consents import AppNotGranted
from focus.money import MICRO
from jobs import extensions, lifecycle
from jobs.hosted import prices
from jobs.invariants import ALL
from jobs.models import Job, Price, Run, Usage
from jobs.usage import DuplicateRequest
from payments.models import Plan, Subscription
from tests.contracts.reviv.test_refresh import bearer, sign_in
from wallet import invariants, ledger
from wallet.ledger import BudgetExceeded, InsufficientCredits
from wallet.models import Entry

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _adds_up(db: None) -> Any:
    yield
    assert invariants.violations(among=ALL) == []


def start(user: User, units: int, action: str = "export") -> Run:
    """Start a ClipForge run, as `runs.start` does."""
    opened = prices.start(
        account_id=user.pk,
        app_slug="clipforge",
        action=action,
        units=units,
        metadata={"description": "A clip"},
    )
    return Run.objects.create(
        account=user,
        kind=action,
        job=opened.job,
        due_at="2026-01-01T00:00:00Z",
        **opened.hold.columns,
    )


def end(run: Run, state: str, *, units: int | None = None) -> Job:
    """End a run, as `runs` does: the run's row, then its job."""
    cost = prices.charge_of(run, units=units)
    ended = {"state": state, "due_at": None, "finished_at": ledger.NOW}
    Run.objects.filter(pk=run.pk).update(**ended)
    caller = lifecycle.Caller(f"run:{run.pk}", account_id=run.account_id, hosted=True)
    if state == "done":
        return lifecycle.complete(
            job_id=run.job_id, caller=caller, cost_micro=cost, metadata={}
        ).job
    return lifecycle.fail(
        job_id=run.job_id, caller=caller, refund=True, fail_reason=state
    ).job


def cost(user: User, units: int, action: str = "export") -> float:
    """The estimate in credits."""
    micro = prices.estimate(
        app_slug="clipforge", action=action, units=units, account_id=user.pk
    )
    return micro / MICRO


def set_price(slug: str, action: str, plan: str = "", **columns: int) -> Price:
    row, _ = Price.objects.update_or_create(
        app=first_party.app(slug),
        action=action,
        plan=plan,
        defaults={"unit": "photo", "credits_micro": 0} | columns,
    )
    return row


def unlock(user: User, number: int = 1) -> prices.UnitCharge:
    return prices.charge_once(
        account_id=user.pk,
        app_slug="reviv",
        action="unlock",
        key=f"unlock:{number}",
        reason="Unlock of a restored photo",
    )


def credits_of(user: User) -> tuple[float, float]:
    now = ledger.balance(account_id=user.pk)
    return now.credits_micro / MICRO, now.reserved_micro / MICRO


class TestWorkWithoutAPrice:
    def test_needs_no_balance_and_books_nothing(self, alice: User) -> None:
        opened = prices.start(
            account_id=alice.pk,
            app_slug="reviv",
            action="restore",
            units=1,
            metadata={},
        )
        assert (opened.job.status, opened.job.reserved_micro) == ("started", 0)
        assert not Entry.objects.exists()
        assert Consent.objects.filter(user=alice, app__slug="reviv").count() == 1

    def test_is_done_for_an_account_in_debt(self, alice: User, give: Any) -> None:
        give(alice, 5, source="purchase", category="paid", key="bought")
        ledger.adjust(
            account_id=alice.pk, amount_micro=-5 * MICRO, actor="t", reason="", key="a"
        )
        ledger.claw_back(
            account_id=alice.pk,
            purchase_key="bought",
            amount_micro=3 * MICRO,
            actor="test",
            reason="",
            key="refund",
        )
        assert credits_of(alice) == (-3, 0)
        before = Entry.objects.count()
        run = start(alice, 1)
        assert end(run, "done").charged_micro == 0
        set_price("reviv", "unlock")
        paid = unlock(alice)
        assert (paid.movement_id, paid.amount_micro) == (None, 0)
        assert paid.balance_micro == -3 * MICRO
        assert Entry.objects.count() == before

    def test_of_an_app_that_is_switched_off_is_refused(self, alice: User) -> None:
        App.objects.filter(pk=first_party.app("clipforge").pk).update(active=False)
        set_price("reviv", "unlock")
        App.objects.update(active=False)
        for call in (lambda: start(alice, 1), lambda: unlock(alice)):
            with pytest.raises(AppInactive):
                call()
        assert not Job.objects.exists()
        assert not Consent.objects.exists()


class TestFreeUnits:
    def test_are_used_before_credits(self, alice: User, give: Any) -> None:
        give(alice, 100)
        assert (cost(alice, 90), cost(alice, 101)) == (0, 1)
        first, second = start(alice, 90), start(alice, 25)
        assert (first.free_units, first.job.reserved_micro) == (90, 0)
        assert (second.free_units, second.job.reserved_micro) == (10, 15 * MICRO)
        assert cost(alice, 7) == 7

    def test_gone_are_paid_or_refused(self, alice: User) -> None:
        start(alice, 100)
        with pytest.raises(InsufficientCredits) as refused:
            start(alice, 1)
        assert refused.value.facts == {"required": 1, "available": 0}
        assert Job.objects.count() == 1

    @pytest.mark.parametrize("state", ["failed", "cancelled"])
    def test_of_work_without_a_result_are_free_again(
        self, alice: User, state: str
    ) -> None:
        run = start(alice, 100)
        assert cost(alice, 1) == 1
        assert end(run, state).charged_micro == 0
        assert cost(alice, 100) == 0

    def test_of_work_that_succeeded_stay_used(self, alice: User) -> None:
        end(start(alice, 100), "done")
        assert cost(alice, 1) == 1

    def test_are_counted_by_action_and_account(self, alice: User, bob: User) -> None:
        start(alice, 100)
        assert (cost(alice, 600, "detect"), cost(alice, 601, "detect")) == (0, 1)
        assert cost(bob, 100) == 0

    def test_come_back_with_the_next_month_except_those_of_running_work(
        self, alice: User
    ) -> None:
        run = start(alice, 30)
        end(start(alice, 50), "done")
        Run.objects.exclude(pk=run.pk).update(finished_at="2026-01-31T23:59:59Z")
        Run.objects.update(created_at="2026-01-31T23:00:00Z")
        assert (cost(alice, 70), cost(alice, 71)) == (0, 1)
        end(run, "done")
        assert (cost(alice, 70), cost(alice, 71)) == (0, 1)

    def test_that_an_outcome_did_not_need_are_free_again(
        self, alice: User, give: Any
    ) -> None:
        give(alice, 50)
        run = start(alice, 120)
        assert credits_of(alice) == (30, 20)
        assert end(run, "done", units=110).charged_micro == 10 * MICRO
        assert credits_of(alice) == (40, 0)
        other = start(alice, 5)
        end(other, "done", units=0)
        assert credits_of(alice) == (40, 0)
        run.refresh_from_db()
        assert (run.units, run.free_units) == (110, 100)

    def test_are_not_lost_by_work_that_was_measured_small(self, alice: User) -> None:
        end(start(alice, 100), "done", units=40)
        assert (cost(alice, 60), cost(alice, 61)) == (0, 1)

    def test_more_units_than_held_cost_what_is_held(
        self, alice: User, give: Any
    ) -> None:
        give(alice, 50)
        job = end(start(alice, 105), "done", units=1000)
        assert (job.charged_micro, job.uncovered_micro) == (5 * MICRO, 0)


class TestPrices:
    def test_of_a_started_run_do_not_change(self, alice: User, give: Any) -> None:
        give(alice, 50)
        run = start(alice, 110)
        set_price("clipforge", "export", credits_micro=3 * MICRO)
        assert end(run, "done").charged_micro == 10 * MICRO
        assert cost(alice, 1) == 3

    def test_are_exact_to_the_micro_credit(self, alice: User, give: Any) -> None:
        give(alice, 1)
        set_price("clipforge", "export", credits_micro=333_333)
        assert end(start(alice, 3), "done").charged_micro == 999_999
        assert ledger.balance(account_id=alice.pk).available_micro == 1

    def test_of_a_plan_are_for_its_subscribers(self, alice: User, bob: User) -> None:
        set_price("clipforge", "export", credits_micro=MICRO)
        set_price("clipforge", "export", "pro", free_units_a_month=500)
        plan = Plan.objects.get(slug="pro")
        Subscription.objects.create(
            account=alice,
            plan=plan,
            stripe_subscription_id="sub_1",
            status="active",
        )
        assert (cost(alice, 500), cost(bob, 1)) == (0, 1)

    def test_of_an_unknown_action_are_a_mistake_of_the_caller(
        self, alice: User
    ) -> None:
        with pytest.raises(KeyError):
            cost(alice, 1, "translate")


class TestConsent:
    def test_is_recorded_by_each_start(self, alice: User) -> None:
        app = first_party.app("clipforge")
        start(alice, 1)
        consents.revoke(user=alice, app_id=app.pk)
        start(alice, 1)
        assert consents.is_granted(user_id=alice.pk, app_id=app.pk)

    def test_that_was_revoked_lets_the_work_take_what_it_reserved(
        self, alice: User, give: Any
    ) -> None:
        give(alice, 50)
        run = start(alice, 110)
        consents.revoke(user=alice, app_id=first_party.app("clipforge").pk)
        caller = lifecycle.Caller("run:x", account_id=alice.pk, hosted=True)
        with pytest.raises(AppNotGranted):
            extensions.extend(job_id=run.job_id, caller=caller, ttl_seconds=7200)
        assert end(run, "done").charged_micro == 10 * MICRO

    def test_is_recorded_by_an_unlock(self, alice: User, give: Any) -> None:
        give(alice, 5)
        unlock(alice)
        assert Consent.objects.filter(user=alice, app__slug="reviv").count() == 1


def test_work_that_was_accepted_is_settled_after_its_app_is_switched_off(
    alice: User, give: Any
) -> None:
    give(alice, 50)
    run = start(alice, 110)
    App.objects.update(active=False)
    caller = lifecycle.Caller("run:x", account_id=alice.pk, hosted=True)
    with pytest.raises(AppInactive):
        extensions.extend(job_id=run.job_id, caller=caller, ttl_seconds=7200)
    assert end(run, "done").charged_micro == 10 * MICRO


class TestUnlock:
    def test_takes_a_credit_once_and_says_what_is_left(
        self, alice: User, give: Any
    ) -> None:
        give(alice, 3)
        paid = unlock(alice)
        assert (paid.amount_micro, paid.balance_micro) == (MICRO, 2 * MICRO)
        [entry] = Entry.objects.filter(kind="consume")
        assert entry.movement_id == paid.movement_id
        assert entry.actor == f"user:{alice.pk}"
        with pytest.raises(DuplicateRequest):
            unlock(alice)
        assert credits_of(alice) == (2, 0)

    def test_without_credits_changes_nothing(self, alice: User) -> None:
        with pytest.raises(InsufficientCredits) as refused:
            unlock(alice)
        assert refused.value.facts == {"required": 1, "available": 0}
        assert not Usage.objects.exists()
        assert not Consent.objects.exists()

    def test_keeps_to_the_persons_monthly_limit(self, alice: User, give: Any) -> None:
        give(alice, 5)
        app = first_party.app("reviv")
        ledger.set_budget(account_id=alice.pk, app=app, limit_micro=MICRO)
        unlock(alice, 1)
        with pytest.raises(BudgetExceeded):
            unlock(alice, 2)

    def test_is_an_unlock_in_revivs_list(
        self, alice: User, tool: App, give: Any
    ) -> None:
        give(alice, 5)
        unlock(alice)
        consents.grant(user=alice, app_id=tool.pk)
        by_tool: APIClient = bearer(_key(tool))
        charge = {"user_id": str(alice.pk), "amount": 2, "reason": "x"}
        by_tool.post(
            "/api/v1/credits/consume", charge | {"idempotency_key": "unlock:1"}
        )
        rows = bearer(sign_in(alice).access_token).get("/api/credits/transactions/")
        assert [(row["amount"], row["transaction_type"]) for row in rows.json()] == [
            (-2, "usage"),
            (-1, "unlock"),
            (5, "grant"),
        ]


def _key(app: App) -> str:
    return app_keys.issue(app=app, name="x").secret
