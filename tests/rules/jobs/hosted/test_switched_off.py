"""What becomes of hosted work when its app may no longer take credits."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.credentials.principals import AppInactive
from accounts.models import App, User
from accounts.partners import consents, first_party
from focus.money import MICRO
from jobs.hosted import prices, runs
from jobs.invariants import ALL
from jobs.models import Price, Run
from tests.hosted import at_work, start, work
from wallet import invariants, ledger

pytestmark = pytest.mark.django_db(transaction=True)


def revoke(user: User) -> None:
    consents.revoke(user=user, app_id=first_party.app("reviv").pk)


def switch_off(user: User) -> None:
    App.objects.filter(slug="reviv").update(active=False)


WAYS = pytest.mark.parametrize(
    ("stop", "code", "says"),
    [
        (revoke, "not_allowed", "you no longer allow this app"),
        (switch_off, "app_inactive", "switched off at the moment"),
    ],
    ids=["revoked", "switched off"],
)


@pytest.fixture(autouse=True)
def _paid_work(alice: User, give: Callable[..., Any]) -> Any:
    """A restoration costs 2 credits."""
    give(alice, 5)
    Price.objects.create(
        app=first_party.app("reviv"),
        action="restore",
        unit="photo",
        credits_micro=2 * MICRO,
    )
    yield
    assert invariants.violations(among=ALL) == []


def credits_of(user: User) -> tuple[float, float]:
    now = ledger.balance(account_id=user.pk)
    return now.credits_micro / MICRO, now.reserved_micro / MICRO


@WAYS
def test_work_that_waits_ends_without_a_charge_and_says_why(
    alice: User, stop: Callable[[User], None], code: str, says: str
) -> None:
    run = start(alice, ["write", "result"])
    assert credits_of(alice) == (3, 2)
    stop(alice)
    assert work() is True
    run = Run.objects.select_related("job").get(pk=run.pk)
    assert (run.state, run.error_code, run.job.status) == ("failed", code, "failed")
    assert says in run.error_sentence
    assert run.job.fail_reason == run.error_sentence
    assert credits_of(alice) == (5, 0)


@WAYS
def test_work_that_has_begun_is_finished_and_takes_what_it_reserved(
    alice: User,
    stand_in: Path,
    stop: Callable[[User], None],
    code: str,
    says: str,
) -> None:
    go = stand_in / "go"
    run = start(
        alice, ["tell", 50], ["wait for", str(go)], charge_micro=2 * MICRO, units=1
    )
    with at_work(threading.Event()) as worker:
        for _ in range(300):
            if Run.objects.get(pk=run.pk).percent == 50:
                break
            time.sleep(0.1)
        stop(alice)
        go.touch()
        worker.join(60)
    run = Run.objects.select_related("job").get(pk=run.pk)
    assert (run.state, run.job.status) == ("done", "completed"), run.error_detail
    assert credits_of(alice) == (3, 0)


def test_new_work_of_an_app_that_is_switched_off_is_refused(alice: User) -> None:
    switch_off(alice)
    with pytest.raises(AppInactive):
        start(alice)
    assert not Run.objects.exists()
    # Staff cannot start it again for the person, either.
    App.objects.update(active=True)
    run = start(alice, refuse=True)
    assert work() is True
    switch_off(alice)
    with pytest.raises(AppInactive):
        runs.requeue(run_id=run.pk, actor="staff:test")


def test_free_units_return_when_the_work_fails_and_stay_when_it_succeeds(
    alice: User,
) -> None:
    Price.objects.update(free_units_a_month=1)

    def cost() -> float:
        return (
            prices.estimate(
                app_slug="reviv", action="restore", units=1, account_id=alice.pk
            )
            / MICRO
        )

    start(alice, refuse=True)
    assert cost() == 2
    assert work() is True
    assert cost() == 0
    start(alice, ["write", "result"])
    assert work() is True
    assert cost() == 2
    # A run that is queued holds its unit until it is cancelled.
    Run.objects.all().update(finished_at="2026-01-01T00:00:00Z")
    run = start(alice)
    assert (run.free_units, cost()) == (1, 2)
    assert runs.cancel(run_id=run.pk)
    assert cost() == 0
