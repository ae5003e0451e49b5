"""A monthly limit under parallel charges, on real connections."""

import uuid
from collections import Counter

import pytest

from focus.money import MICRO
from jobs.models import Job
from tests.rules.wallet.test_races import (
    BELOW_USAGE,
    at_once,
    complete,
    fail,
    make_due,
    start,
)
from wallet import invariants, ledger
from wallet.models import Budget

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 8


@pytest.fixture(autouse=True)
def _alice_lets_video(alice, video, grant_consent):
    grant_consent(alice, video)


@pytest.fixture(autouse=True)
def _adds_up(transactional_db):
    yield
    assert invariants.violations(among=BELOW_USAGE) == []


def limit(user, app, amount):
    ledger.set_budget(account_id=user.pk, app=app, limit_micro=amount * MICRO)


def test_of_twenty_parallel_reserves_exactly_the_limit_passes(alice, video, give):
    give(alice, 1000)
    for n in range(1, ROUNDS + 1):
        limit(alice, video, 5 * n)
        outcomes = at_once(*[lambda: start(alice, video, 1)] * 20)
        passed = Counter(map(type, outcomes))
        assert passed == {Job: 5, str: 15}
        assert set(outcomes) & {"spending_limit_reached"}
        assert Budget.objects.get().spent_micro == 5 * n * MICRO


def test_every_way_to_spend_counts_once_in_parallel(alice, video, give):
    give(alice, 1000)
    spent = 0
    for _ in range(ROUNDS):
        limit(alice, video, 1000)
        jobs = [start(alice, video, 3) for _ in range(4)]
        make_due(jobs[2])
        at_once(
            lambda jobs=jobs: complete(jobs[0], 1),
            lambda jobs=jobs: complete(jobs[1], 5),
            lambda jobs=jobs: complete(jobs[2], 3),
            lambda jobs=jobs: fail(jobs[3]),
            lambda: ledger.expire(account_id=alice.pk),
            lambda: limit(alice, video, 999),
            lambda: ledger.consume(
                account_id=alice.pk,
                app=video,
                amount_micro=MICRO,
                actor="test",
                reason="",
                key=str(uuid.uuid4()),
            ),
        )
        spent += 1 + 5 + 3 + 1
        assert Budget.objects.get().spent_micro == spent * MICRO


def test_a_limit_set_during_spending_counts_all_of_it(alice, video, give):
    give(alice, 1000)
    for n in range(1, ROUNDS + 1):
        outcomes = at_once(
            *[lambda: start(alice, video, 1)] * 6,
            lambda n=n: limit(alice, video, 3 * n),
        )
        passed = sum(isinstance(outcome, Job) for outcome in outcomes)
        assert 0 <= passed <= 6
        budget = Budget.objects.get()
        assert budget.spent_micro == Job.objects.count() * MICRO
