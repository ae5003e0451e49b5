"""Accounts take turns at the media workers, also with two workers at once."""

from datetime import timedelta
from typing import Any

import pytest

from accounts.models import User
from focus.due import NOW
from jobs.hosted import runs, turns, working
from jobs.models import Run
from tests.hosted import start, work
from tests.rules.accounts.test_races import at_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def carol(db: None) -> User:
    return User.objects.create_user("carol@example.com", "carol's password")


def claim() -> Run:
    run = working._claim()
    assert run is not None
    return run


def end(run: Run) -> None:
    run.refresh_from_db()
    runs.cancel(run_id=run.pk)


def test_one_photo_waits_for_one_run_of_each_other_account(
    alice: User, bob: User, carol: User
) -> None:
    mine = [start(alice) for _ in range(4)]
    bobs = [start(bob) for _ in range(2)]
    [carols] = [start(carol)]
    order = []
    while (run := working._claim()) is not None:
        order.append(run.pk)
        end(run)
    assert order == [
        *(mine[0].pk, bobs[0].pk, carols.pk),
        *(mine[1].pk, bobs[1].pk),
        *(mine[2].pk, mine[3].pk),
    ]


def test_the_place_that_a_person_reads_is_the_place_in_that_order(
    alice: User, bob: User, carol: User
) -> None:
    started = [start(user) for user in (alice, alice, bob, alice, carol, bob, alice)]
    end(claim())
    waiting = [run for run in started if Run.objects.get(pk=run.pk).state == "queued"]
    said = turns.before(waiting, runs.KINDS)
    order = []
    while (run := working._claim()) is not None:
        order.append(run.pk)
        end(run)
    assert said == {pk: place for place, pk in enumerate(order)}


def test_a_second_worker_takes_the_run_of_another_account(
    alice: User, bob: User
) -> None:
    first, second = start(alice), start(alice)
    other = start(bob)
    assert [claim().pk for _ in range(3)] == [first.pk, other.pk, second.pk]


def test_an_account_that_waits_alone_uses_all_workers(alice: User) -> None:
    assert {start(alice).pk, start(alice).pk} == {claim().pk, claim().pk}


def test_two_workers_at_once_never_serve_one_account_while_another_waits(
    alice: User, bob: User
) -> None:
    for _ in range(12):
        start(alice), start(alice), start(bob)
        claimed: list[Any] = at_once(2, claim)
        assert {run.account_id for run in claimed} == {alice.pk, bob.pk}
        for run in Run.objects.filter(state__in=["queued", "running"]):
            runs.cancel(run_id=run.pk)


def test_eight_workers_claim_each_of_forty_runs_once(alice: User, bob: User) -> None:
    for _ in range(20):
        start(alice)
        start(bob)

    def claim_all() -> list[Any]:
        claimed = []
        while (run := working._claim()) is not None:
            claimed.append(run.pk)
        return claimed

    by_worker = at_once(8, claim_all)
    claimed = [pk for worker in by_worker for pk in worker]
    assert len(claimed) == len(set(claimed)) == 40


def test_a_run_of_a_killed_worker_counts_as_waiting(alice: User, bob: User) -> None:
    dead = start(alice)
    claim()
    Run.objects.filter(pk=dead.pk).update(due_at=NOW - timedelta(seconds=1))
    other = start(bob)
    assert [claim().pk for _ in range(2)] == [other.pk, dead.pk]


def test_a_kind_that_this_worker_does_not_know_waits(
    alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(alice)
    Run.objects.update(kind="montage")
    start(bob)
    assert work() is True
    assert work() is False
    assert Run.objects.get(kind="montage").state == "queued"
