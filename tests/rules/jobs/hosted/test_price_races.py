"""Races of hosted work on real connections, decided by counting winners."""

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections, transaction

from accounts.models import App, Consent, User
from accounts.partners import consents, first_party
from focus.money import MICRO
from jobs import lifecycle
from jobs.hosted import prices
from jobs.invariants import ALL
from jobs.models import Job, Run, Usage
from tests.hosted import another_waits
from tests.rules.jobs.hosted.test_prices import credits_of, end, start, unlock
from tests.rules.wallet.test_races import at_once
from wallet import invariants, ledger

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _adds_up(transactional_db: None) -> Iterator[None]:
    yield
    assert invariants.violations(among=ALL) == []


def started(user: User, units: int) -> Run:
    with transaction.atomic():
        return start(user, units)


def test_parallel_starts_cannot_pass_the_free_units(alice: User) -> None:
    first_party.app("clipforge")
    outcomes = at_once(*[lambda: started(alice, 30)] * 8)
    assert Counter(map(type, outcomes)) == {Run: 3, str: 5}
    assert outcomes.count("insufficient_credits") == 5
    assert sum(run.free_units for run in Run.objects.all()) == 90


def test_parallel_starts_pay_each_unit_beyond_the_free_ones_once(
    alice: User, give: Any
) -> None:
    give(alice, 1000)
    outcomes = at_once(*[lambda: started(alice, 30)] * 8)
    assert len(outcomes) == 8
    assert sum(run.free_units for run in Run.objects.all()) == 100
    assert credits_of(alice) == (860, 140)


def test_a_second_start_waits_for_the_first_and_sees_its_units(
    alice: User, give: Any
) -> None:
    """Two connections: the second asks while the first has not committed."""
    first_party.app("clipforge")
    give(alice, 10)
    asked, seen = threading.Event(), []

    def second() -> None:
        try:
            asked.set()
            seen.append(started(alice, 50).free_units)
        finally:
            connections.close_all()

    with transaction.atomic():
        start(alice, 60)
        thread = threading.Thread(target=second)
        thread.start()
        assert asked.wait(30)
        # The second start waits for the wallet, so nothing is decided yet.
        assert another_waits()
        assert seen == []
    thread.join(30)
    assert seen == [40]
    with pytest.raises(ledger.InsufficientCredits):
        started(alice, 1)


def test_a_start_that_is_rolled_back_leaves_its_units_to_the_other(alice: User) -> None:
    first_party.app("clipforge")

    def broken() -> None:
        with transaction.atomic():
            start(alice, 100)
            raise lifecycle.JobNotFound("broken off")

    outcomes = at_once(broken, lambda: started(alice, 100))
    # The second outcome of `broken` is that the other call was first.
    assert outcomes[0] in ("job_not_found", "insufficient_credits")
    assert isinstance(outcomes[1], Run)
    assert Job.objects.count() == 1


def test_starts_and_ends_at_once_keep_within_the_free_units(alice: User) -> None:
    runs = [started(alice, 25) for _ in range(4)]

    def finish(run: Run, state: str) -> None:
        with transaction.atomic():
            Run.objects.select_for_update().get(pk=run.pk)
            end(run, state)

    at_once(
        *[lambda run=run: finish(run, "done") for run in runs[:2]],
        *[lambda run=run: finish(run, "cancelled") for run in runs[2:]],
        *[lambda: started(alice, 25)] * 6,
    )
    kept = Run.objects.exclude(state="cancelled")
    assert sum(run.free_units for run in kept) <= 100
    assert not Job.objects.exclude(reserved_micro=0).exists()
    # What the cancelled runs freed can be used now.
    while sum(run.free_units for run in kept.all()) < 100:
        started(alice, 25)


def test_twenty_unlocks_at_once_charge_once(alice: User, give: Any) -> None:
    give(alice, 20)
    first_party.app("reviv")
    outcomes = at_once(*[lambda: unlock(alice)] * 20)
    assert outcomes.count("duplicate_request") == 19
    assert (credits_of(alice), Usage.objects.count()) == ((19, 0), 1)


def test_unlocks_of_different_photos_stop_at_the_balance(
    alice: User, give: Any
) -> None:
    give(alice, 3)
    first_party.app("reviv")
    outcomes = at_once(*[lambda n=n: unlock(alice, n) for n in range(8)])
    assert outcomes.count("insufficient_credits") == 5
    assert credits_of(alice) == (0, 0)


def test_a_missing_product_is_made_once(db: None) -> None:
    made = at_once(*[lambda: first_party.app("reviv").pk] * 8)
    assert len(set(made)) == 1
    assert App.objects.count() == 1


def test_starts_and_revocations_at_once_leave_each_job_with_a_consent(
    alice: User, give: Any
) -> None:
    """A start renews the consent, and a deadlock would fail one of the calls."""
    app = first_party.app("clipforge")
    give(alice, 1000)
    for _ in range(4):
        calls: list[Any] = [lambda: started(alice, 30)] * 4
        calls += [lambda: consents.revoke(user=alice, app_id=app.pk)] * 4
        outcomes = at_once(*calls)
        assert Counter(map(type, outcomes)) == {Run: 4, bool: 4}
    assert Consent.objects.count() == 1
    assert Job.objects.count() == 16
    assert sum(run.free_units for run in Run.objects.all()) == 100
    assert credits_of(alice)[1] * MICRO == sum(
        prices.charge_of(run) for run in Run.objects.all()
    )
