"""Runs on real connections and processes: they end once, and their jobs with them."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from accounts.models import App, User
from accounts.partners import consents, first_party
from focus.due import NOW
from focus.money import MICRO
from jobs.hosted import runs, working
from jobs.hosted.runs import RunCannotRepeat, RunNotFailed, RunNotFound
from jobs.models import Job, Run
from tests import hosted
from tests.hosted import at_work, start, work
from tests.processes import until
from tests.rules.accounts.test_races import at_once
from wallet import ledger

pytestmark = pytest.mark.django_db(transaction=True)


def fresh(run: Run) -> Run:
    return Run.objects.select_related("job").get(pk=run.pk)


def folders(stand_in: Path) -> list[Path]:
    work_folder = stand_in / "work"
    return list(work_folder.iterdir()) if work_folder.exists() else []


def _cancel(run: Run) -> bool:
    return runs.cancel(run_id=run.pk)


def _next_of(calls: Iterator[Callable[[], bool]]) -> bool:
    """Make the next call; a tuple's iterator gives each thread another one."""
    return next(calls)()


def end_backoff() -> None:
    Run.objects.exclude(due_at=None).update(due_at=NOW)


@pytest.fixture
def priced(alice: User, give: Any) -> User:
    """Alice has 20 credits, and one unit of the test's action costs 2."""
    hosted.set_price(alice, give)
    return alice


def available(user: User) -> int:
    return ledger.balance(account_id=user.pk, app_id=None).available_micro // MICRO


class TestDone:
    def test_a_run_is_done_and_its_job_is_settled(self, alice: User) -> None:
        run = start(alice, ["write", "result"], ["tell", 60])
        assert work() is True
        run = fresh(run)
        assert (run.state, run.percent, run.error_detail) == ("done", 100, "")
        assert run.message == "published result"
        assert run.report == {"outcome": "done", "report": {"steps": 2}}
        assert run.job.status == Job.Status.COMPLETED
        assert run.job.app.slug == "reviv"
        assert run.job.metadata == {
            "description": "A test",
            "previewUrl": "https://example.com/preview.jpg",
        }
        assert work() is False

    def test_a_run_costs_what_publish_returns(self, priced: User) -> None:
        run = start(priced, units=3, charge_micro=5 * MICRO)
        assert available(priced) == 14
        work()
        job = fresh(run).job
        assert (job.reserved_micro, job.charged_micro) == (6 * MICRO, 5 * MICRO)
        assert available(priced) == 15

    def test_a_start_that_is_too_dear_writes_nothing(self, priced: User) -> None:
        with pytest.raises(ledger.InsufficientCredits):
            start(priced, units=11)
        assert not Run.objects.exists()
        assert not Job.objects.exists()

    def test_no_folder_is_left(self, alice: User, stand_in: Path) -> None:
        start(alice, ["write", "result"])
        start(alice, ["refuse", "too_dark"])
        start(alice, ["die", "SIGKILL"])
        while work():
            pass
        assert folders(stand_in) == []


class TestFailed:
    def test_a_refusal_is_not_retried_and_costs_nothing(self, priced: User) -> None:
        run = start(priced, ["refuse", "no_photo"], charge_micro=MICRO)
        work()
        run = fresh(run)
        assert (run.state, run.tries, run.error_code) == ("failed", 1, "no_photo")
        assert (run.error_sentence, run.error_change) == ("No photo.", "Another.")
        assert run.message == "ended failed"
        assert runs.status_of(run).message == "No photo."
        job = run.job
        assert (job.status, job.refund, job.fail_reason) == (
            "failed",
            True,
            "No photo.",
        )
        assert available(priced) == 20

    def test_a_source_that_prepare_refuses_never_reaches_the_engine(
        self, alice: User
    ) -> None:
        run = start(alice, ["die", "SIGKILL"], refuse=True)
        work()
        run = fresh(run)
        assert (run.state, run.error_code) == ("failed", "too_dark")
        assert run.error_change == "Take another one."

    @pytest.mark.parametrize(
        ("step", "code"),
        [
            (["fail", "shape"], "shape"),
            (["die", "SIGSEGV"], "killed"),
            (["exit", 0], "protocol"),
            (["print", "no json"], "output"),
        ],
    )
    def test_an_engine_that_fails_is_tried_three_times(
        self, priced: User, step: list[Any], code: str
    ) -> None:
        run = start(priced, step)
        for tries in (1, 2):
            work()
            run = fresh(run)
            assert (run.state, run.tries, run.error_code) == ("queued", tries, code)
            assert (run.error_sentence, run.job.status) == ("", "started")
            assert work() is False, "the back-off has not ended"
            end_backoff()
        work()
        run = fresh(run)
        assert (run.state, run.tries, run.error_code) == ("failed", 3, code)
        assert run.error_sentence == working.SORRY
        assert run.job.fail_reason == working.SORRY
        assert available(priced) == 20
        assert work() is False

    def test_a_second_try_that_works_leaves_no_error(self, alice: User) -> None:
        run = start(alice, ["fail", "shape"])
        work()
        Run.objects.update(request={"steps": []}, due_at=NOW)
        work()
        run = fresh(run)
        assert (run.state, run.tries, run.error_code) == ("done", 2, "")

    def test_a_malformed_request_is_our_fault_and_not_retried(
        self, alice: User
    ) -> None:
        run = start(alice, ["bad", ""])
        work()
        run = fresh(run)
        assert (run.state, run.error_code) == ("failed", "bad_request")
        assert run.error_detail == "No such field."

    def test_a_kind_that_raises_is_retried_like_the_engine(self, alice: User) -> None:
        run = start(alice, broken=True)
        work()
        run = fresh(run)
        assert (run.state, run.error_code) == ("queued", "internal")
        assert run.error_detail == "ValueError: no source"

    def test_a_run_with_dead_workers_in_all_tries_ends(self, priced: User) -> None:
        run = start(priced, ["write", "result"])
        Run.objects.update(tries=3, state="running")
        work()
        run = fresh(run)
        assert (run.state, run.error_code) == ("failed", "worker_died")
        assert available(priced) == 20


class TestAllowed:
    def test_work_for_a_person_who_revoked_the_app_is_not_begun(
        self, priced: User
    ) -> None:
        run = start(priced)
        consents.revoke(user=priced, app_id=first_party.app("reviv").pk)
        work()
        run = fresh(run)
        assert (run.state, run.error_code) == ("failed", "not_allowed")
        assert available(priced) == 20

    def test_work_for_a_switched_off_app_is_not_begun(self, alice: User) -> None:
        run = start(alice)
        App.objects.filter(slug="reviv").update(active=False)
        work()
        assert fresh(run).error_code == "app_inactive"

    def test_work_that_waited_longer_than_its_reservation_is_not_begun(
        self, alice: User
    ) -> None:
        run = start(alice)
        Job.objects.update(expires_at=NOW - timedelta(seconds=1))
        work()
        run = fresh(run)
        assert (run.state, run.error_code) == ("failed", "waited_too_long")

    def test_a_claim_keeps_the_reservation_for_the_whole_try(
        self, priced: User
    ) -> None:
        run = start(priced, ["sleep", 60])
        from wallet.models import Reservation

        soon = NOW + timedelta(seconds=5)
        # The entries say a later end than these rows; no invariant is checked here.
        Reservation.objects.update(expires_at=soon)
        Job.objects.update(expires_at=soon)
        before = fresh(run).job.expires_at
        stop = threading.Event()
        with at_work(stop):
            until(lambda: fresh(run).job.expires_at > before, seconds=30)
        kept = fresh(run).job.expires_at - before
        assert kept > timedelta(seconds=hosted.KIND.limits.seconds)


class TestCancel:
    def test_a_waiting_run_is_cancelled_and_never_worked_on(self, priced: User) -> None:
        run = start(priced)
        assert runs.cancel(run_id=run.pk) is True
        assert work() is False
        run = fresh(run)
        assert (run.state, run.message) == ("cancelled", "ended cancelled")
        assert (run.job.status, run.job.fail_reason) == ("failed", runs.CANCELLED)
        assert available(priced) == 20
        assert runs.cancel(run_id=run.pk) is False

    def test_a_cancelled_run_loses_its_engine_and_publishes_nothing(
        self, priced: User, stand_in: Path
    ) -> None:
        run = start(priced, ["write", str(stand_in / "begun")], ["sleep", 600])
        with at_work(threading.Event()) as worker:
            until((stand_in / "begun").exists, seconds=30)
            runs.cancel(run_id=run.pk)
            worker.join(30)
            assert not worker.is_alive()
        run = fresh(run)
        assert (run.state, run.message, run.report) == (
            "cancelled",
            "ended cancelled",
            None,
        )
        assert folders(stand_in) == []

    def test_a_done_run_is_not_cancelled(self, alice: User) -> None:
        run = start(alice)
        work()
        assert runs.cancel(run_id=run.pk) is False
        assert fresh(run).state == "done"

    def test_one_of_a_cancellation_and_the_end_wins(self, priced: User) -> None:
        for _ in range(8):
            run = start(priced, charge_micro=MICRO)
            at_once(2, partial(_next_of, iter((work, partial(_cancel, run)))))
            run = fresh(run)
            outcome = run.state, run.job.status, run.job.charged_micro
            assert outcome in (
                ("done", "completed", MICRO),
                ("cancelled", "failed", 0),
            )

    def test_a_run_that_does_not_exist(self, alice: User) -> None:
        with pytest.raises(RunNotFound):
            runs.cancel(run_id=alice.pk)


class TestStop:
    def test_a_stopped_worker_gives_the_run_back_without_a_try(
        self, alice: User, stand_in: Path
    ) -> None:
        run = start(alice, ["write", str(stand_in / "begun")], ["sleep", 600])
        stop = threading.Event()
        with at_work(stop):
            until((stand_in / "begun").exists, seconds=30)
        run = fresh(run)
        assert (run.state, run.tries, run.lease) == ("queued", 0, None)
        assert folders(stand_in) == []
        Run.objects.update(request={"steps": []})
        assert work() is True
        assert fresh(run).state == "done"

    def test_a_worker_that_lost_its_lease_publishes_nothing(
        self, priced: User, stand_in: Path
    ) -> None:
        """A stalled worker wakes up after the next one has ended the run."""
        gate = stand_in / "gate"
        run = start(priced, ["wait for", str(gate)], charge_micro=MICRO)
        with at_work(threading.Event()) as stalled:
            until(lambda: fresh(run).state == "running", seconds=30)
            first = fresh(run).lease
            Run.objects.update(due_at=NOW, lease=None, request={"steps": []})
            assert work() is True
            done = fresh(run)
            assert (done.state, done.tries) == ("done", 2)
            gate.touch()
            stalled.join(30)
        run = fresh(run)
        assert first is not None
        assert (run.state, run.finished_at) == ("done", done.finished_at)
        assert run.job.charged_micro == 0


class TestRequeue:
    def test_a_failed_run_gets_a_new_job_and_all_its_tries(self, priced: User) -> None:
        run = start(priced, ["refuse", "no_photo"])
        work()
        old = fresh(run).job_id
        Run.objects.update(request={"steps": [], "charge_micro": MICRO})
        runs.requeue(run_id=run.pk, actor="staff")
        waiting = fresh(run)
        assert (waiting.state, waiting.tries, waiting.error_code) == ("queued", 0, "")
        assert waiting.job_id != old
        assert available(priced) == 18
        work()
        run = fresh(run)
        assert (run.state, run.job.status) == ("done", "completed")
        assert Job.objects.get(pk=old).status == "failed"
        assert available(priced) == 19

    def test_only_a_failed_run_is_tried_again(self, alice: User) -> None:
        run = start(alice)
        with pytest.raises(RunNotFailed):
            runs.requeue(run_id=run.pk, actor="staff")
        work()
        with pytest.raises(RunNotFailed):
            runs.requeue(run_id=run.pk, actor="staff")

    def test_a_run_without_its_source_is_not_tried_again(
        self, alice: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from dataclasses import replace

        gone = replace(hosted.KIND, may_repeat=lambda run: False)
        monkeypatch.setitem(runs.KINDS, "test", gone)
        run = start(alice, ["refuse", "no_photo"])
        work()
        with pytest.raises(RunCannotRepeat):
            runs.requeue(run_id=run.pk, actor="staff")
        assert Job.objects.count() == 1

    def test_two_members_of_staff_start_one_job(self, alice: User) -> None:
        run = start(alice, ["refuse", "no_photo"])
        work()

        def again() -> bool:
            try:
                runs.requeue(run_id=run.pk, actor="staff")
            except RunNotFailed:
                return False
            return True

        assert sorted(at_once(2, again)) == [False, True]
        assert Job.objects.count() == 2
