"""Budgets: the limit of an app's spending in a month."""

import uuid
from datetime import UTC, datetime

import pytest
from django.db import connection

from accounts.models import App
from focus.money import MICRO
from wallet import invariants, ledger
from wallet.models import Budget, Entry

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _alice_lets_video(alice, video, grant_consent):
    grant_consent(alice, video)


@pytest.fixture(autouse=True)
def _adds_up(db):
    yield
    assert invariants.violations() == []


@pytest.fixture
def rival(alice, grant_consent):
    return grant_consent(alice, App.objects.create(slug="rival", name="Rival"))


@pytest.fixture
def at(db):
    """Set the ledger's clock on this connection, for this test."""

    def sets(moment):
        ahead = (moment - datetime.now(UTC)).total_seconds()
        _offset(ahead)

    yield sets
    _offset(0)


def _offset(seconds):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('focus.clock_offset', %s, false)", [f"{seconds}s"]
        )


def limit(user, app, amount):
    return ledger.set_budget(
        account_id=user.pk,
        app=app,
        limit_micro=None if amount is None else amount * MICRO,
    )


def reserve(user, app, amount, ttl_seconds=3600):
    job_id = uuid.uuid4()
    ledger.reserve(
        account_id=user.pk,
        app=app,
        job_id=job_id,
        amount_micro=amount * MICRO,
        ttl_seconds=ttl_seconds,
        actor="test",
    )
    return job_id


def settle(user, app, job_id, cost):
    return ledger.settle(
        account_id=user.pk,
        app=app,
        job_id=job_id,
        cost_micro=cost * MICRO,
        actor="test",
    )


def consume(user, app, amount):
    return ledger.consume(
        account_id=user.pk,
        app=app,
        amount_micro=amount * MICRO,
        actor="test",
        reason="",
        key=str(uuid.uuid4()),
    )


def spent(user, app):
    return ledger.spending(account_id=user.pk)[app.pk].spent_micro // MICRO


def test_a_reservation_counts_until_it_is_returned(alice, video, give):
    give(alice, 50)
    limit(alice, video, 10)
    job = reserve(alice, video, 7)
    with pytest.raises(ledger.BudgetExceeded) as refused:
        reserve(alice, video, 4)
    assert refused.value.facts == {"limit": 10, "spent": 7, "required": 4}
    # The grant, the limit and the reservation.
    assert Entry.objects.count() == 3
    settle(alice, video, job, 5)
    assert spent(alice, video) == 5
    second = reserve(alice, video, 5)
    with pytest.raises(ledger.BudgetExceeded):
        consume(alice, video, 1)
    ledger.release(account_id=alice.pk, app=video, job_id=second, actor="test")
    consume(alice, video, 5)
    assert spent(alice, video) == 10
    assert Budget.objects.get().spent_micro == 10 * MICRO


def test_a_budget_limits_one_app_and_the_balance_refuses_first(
    alice, video, rival, give
):
    give(alice, 20)
    limit(alice, video, 0)
    reserve(alice, video, 0)
    with pytest.raises(ledger.BudgetExceeded):
        reserve(alice, video, 1)
    with pytest.raises(ledger.InsufficientCredits):
        reserve(alice, video, 21)
    reserve(alice, rival, 20)
    assert ledger.balance(account_id=alice.pk, app_id=video.pk).credits_micro == 0


def test_an_app_reads_no_more_credits_than_its_limit_leaves(alice, video, rival, give):
    give(alice, 20)
    limit(alice, video, 5)
    seen = {
        app: ledger.balance(account_id=alice.pk, app_id=app and app.pk).credits_micro
        for app in (video, rival, None)
    }
    assert seen == {video: 5 * MICRO, rival: 20 * MICRO, None: 20 * MICRO}
    assert consume(alice, video, 3).balance.credits_micro == 2 * MICRO


@pytest.mark.parametrize(
    ("policy", "charged", "uncovered"), [("cap", 6, 4), ("overflow", 6, 4)]
)
def test_overage_stays_within_the_limit(alice, video, give, policy, charged, uncovered):
    give(alice, 50)
    limit(alice, video, 6)
    video.overage_policy = policy
    settled = settle(alice, video, reserve(alice, video, 4), 10)
    assert settled.charged_micro == charged * MICRO
    assert settled.uncovered_micro == uncovered * MICRO
    assert spent(alice, video) == 6


def test_an_overdraft_counts_as_well(alice, video, give):
    give(alice, 2)
    ledger.expire(account_id=alice.pk)
    video.overage_policy = "overflow"
    ledger.set_overdraft_limit(
        account_id=alice.pk, limit_micro=100 * MICRO, actor="staff:test"
    )
    limit(alice, video, 6)
    settled = settle(alice, video, reserve(alice, video, 0), 9)
    assert (settled.charged_micro, settled.uncovered_micro) == (6 * MICRO, 3 * MICRO)
    assert settled.balance.debt_micro == 4 * MICRO


def test_reject_names_the_limit_or_the_balance(alice, video, give):
    give(alice, 20)
    limit(alice, video, 6)
    video.overage_policy = "reject"
    job = reserve(alice, video, 4)
    with pytest.raises(ledger.BudgetExceeded) as refused:
        settle(alice, video, job, 9)
    assert refused.value.facts == {"limit": 6, "spent": 4, "required": 5}
    with pytest.raises(ledger.InsufficientCredits):
        settle(alice, video, job, 99)
    assert settle(alice, video, job, 6).charged_micro == 6 * MICRO


def test_an_expiry_reduces_the_months_spending_before_a_sweep(
    alice, video, give, time_passes
):
    give(alice, 20)
    limit(alice, video, 5)
    job = reserve(alice, video, 5, ttl_seconds=60)
    time_passes(61)
    assert spent(alice, video) == 0
    balance = ledger.balance(account_id=alice.pk, app_id=video.pk)
    assert balance.credits_micro == 5 * MICRO
    consume(alice, video, 3)
    late = settle(alice, video, job, 5)
    assert (late.late, late.charged_micro) == (True, 2 * MICRO)
    assert late.uncovered_micro == 3 * MICRO


def test_spending_before_the_first_limit_counts(alice, video, give):
    give(alice, 20)
    consume(alice, video, 4)
    settle(alice, video, reserve(alice, video, 5), 2)
    before, after = limit(alice, video, 3)
    assert (before, after) == (
        ledger.Spending(None, 6 * MICRO),
        ledger.Spending(3 * MICRO, 6 * MICRO),
    )
    assert after.left_micro == 0
    with pytest.raises(ledger.BudgetExceeded):
        consume(alice, video, 1)
    limit(alice, video, 7)
    consume(alice, video, 1)
    limit(alice, video, None)
    consume(alice, video, 13)
    assert not Budget.objects.exists()


def test_a_new_utc_month_starts_at_0_and_the_old_one_keeps_its_spending(
    alice, video, give, at
):
    year = datetime.now(UTC).year + 1
    at(datetime(year, 1, 31, 23, 59, 0, tzinfo=UTC))
    give(alice, 50)
    limit(alice, video, 10)
    settled, released = reserve(alice, video, 6), reserve(alice, video, 4)
    at(datetime(year, 2, 1, 0, 1, 0, tzinfo=UTC))
    assert spent(alice, video) == 0
    ledger.release(account_id=alice.pk, app=video, job_id=released, actor="test")
    # The reservation counts in January, the overage in February.
    assert settle(alice, video, settled, 8).charged_micro == 8 * MICRO
    assert spent(alice, video) == 2
    consume(alice, video, 8)
    with pytest.raises(ledger.BudgetExceeded):
        consume(alice, video, 1)


def test_adjustments_and_grants_do_not_count(alice, video, give):
    limit(alice, video, 5)
    give(alice, 20, only_for=video)
    ledger.adjust(
        account_id=alice.pk, amount_micro=-9 * MICRO, actor="s", reason="", key="a"
    )
    assert spent(alice, video) == 0


def test_each_bulk_charge_stops_at_its_own_limit(
    alice, bob, video, give, grant_consent
):
    grant_consent(bob, video)
    give(alice, 20)
    give(bob, 20)
    limit(alice, video, 2)
    outcomes = ledger.consume_many(
        app=video,
        actor="test",
        charges=[
            ledger.Charge(user.pk, MICRO, "", f"{n}")
            for n, user in enumerate([alice, bob, alice, alice, bob])
        ],
    )
    kinds = [type(outcome) for outcome in outcomes]
    taken, over = ledger.Taken, ledger.BudgetExceeded
    assert kinds == [taken, taken, taken, over, taken]
