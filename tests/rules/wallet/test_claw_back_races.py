"""Refunds and disputes concurrent with other movements, on real connections."""

from collections import Counter

import pytest

from focus.money import MICRO
from jobs.invariants import ALL
from tests.rules.wallet.test_claw_backs import buy, claw_back, reinstate
from tests.rules.wallet.test_races import at_once, complete, fail, start
from wallet import invariants, ledger
from wallet.models import ClawBack, Entry, Grant, Wallet

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 8


@pytest.fixture(autouse=True)
def _adds_up(transactional_db, alice, video, grant_consent):
    grant_consent(alice, video)
    yield
    assert invariants.violations(among=ALL) == []


def test_two_hundred_duplicates_of_a_key_claw_back_and_reinstate_once(alice):
    buy(alice, 10)
    buy(alice, 10, key="other")

    def ten_times(call):
        return [call() for _ in range(10)]

    taken = at_once(*[lambda: ten_times(lambda: claw_back(alice, 4))] * 20)
    assert Counter(done.created for each in taken for done in each) == {
        True: 1,
        False: 199,
    }
    back = at_once(*[lambda: ten_times(lambda: reinstate(alice))] * 20)
    assert Counter(done.created for each in back for done in each) == {
        True: 1,
        False: 199,
    }
    assert ClawBack.objects.count() == 1
    assert Entry.objects.filter(kind__in=["claw_back", "reinstate"]).count() == 2
    assert ledger.balance(account_id=alice.pk).credits_micro == 20 * MICRO


def test_many_refunds_of_one_purchase_never_exceed_it(alice):
    buy(alice, 10)
    outcomes = at_once(
        *[lambda n=n: claw_back(alice, 3, key=f"r{n}") for n in range(8)]
    )
    assert outcomes.count("exceeds_purchase") == 5
    assert Grant.objects.get().clawed_back_micro == 9 * MICRO


def test_two_keys_reinstate_a_claw_back_once(alice):
    for n in range(ROUNDS):
        buy(alice, 5, key=f"bought:{n}")
        claw_back(alice, 5, key=f"lost:{n}", purchase=f"bought:{n}")
        outcomes = at_once(
            *[
                lambda k=k, n=n: reinstate(alice, key=f"{k}:{n}", claw_back=f"lost:{n}")
                for k in range(4)
            ]
        )
        assert outcomes.count("already_reinstated") == 3
    assert ledger.balance(account_id=alice.pk).credits_micro == 5 * ROUNDS * MICRO


def test_a_refund_during_jobs_and_purchases_neither_creates_nor_loses_credits(
    alice, video
):
    seen: Counter[object] = Counter()
    expected = 0
    for n in range(ROUNDS):
        buy(alice, 10, key=f"bought:{n}")
        jobs = [start(alice, video, 2) for _ in range(2)]
        outcomes = at_once(
            lambda n=n: claw_back(alice, 10, key=f"r:{n}", purchase=f"bought:{n}"),
            lambda: start(alice, video, 6),
            lambda jobs=jobs: complete(jobs[0], 1),
            lambda jobs=jobs: fail(jobs[1]),
            lambda n=n: buy(alice, 3, key=f"also:{n}"),
        )
        lost, started, *_ = outcomes
        seen[lost.owed_micro > 0, started if isinstance(started, str) else "ran"] += 1
        if not isinstance(started, str):
            fail(started)
        # 10 in and 10 out, 1 charged, 3 bought.
        expected += 2 * MICRO
        wallet = Wallet.objects.get()
        assert wallet.reserved_micro == 0
        assert wallet.available_micro - wallet.debt_micro == expected
    assert sum(seen.values()) == ROUNDS
