"""The row queue on real connections: two workers, a killed one and a stalled one."""

import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.db import connections, transaction
from django.utils import timezone

import accounts.tasks
import jobs.tasks
import payments.tasks
import wallet.tasks
from accounts.models import Mail, User
from focus import due
from focus.background import overdue
from focus.celery import app
from focus.due import Backoff, Queue
from focus.models import Failure
from tests import processes
from tests.clocks import database_time
from tests.rules.accounts.test_races import at_once

pytestmark = pytest.mark.django_db(transaction=True)

# The import of the tasks registers the queues that they drain.
DOORS = (accounts.tasks, jobs.tasks, payments.tasks, wallet.tasks)
SERVER_QUEUES = tuple(due.QUEUES)
LEASE = timedelta(seconds=30)
WAITS = Backoff(first=timedelta(minutes=1), longest=timedelta(minutes=10))
# A worker of its own: claims a row for two seconds and never gives it back.
HANGING_WORKER = """
import time
from datetime import timedelta
from accounts.models import Mail
from focus.due import Backoff, Queue
second = timedelta(seconds=1)
queue = Queue(
    Mail.objects.all(), task="test", lease=2 * second, backoff=Backoff(second, second)
)
assert queue.claim()
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def no_other_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queues of this file are no queues of the server."""
    monkeypatch.setattr(due, "QUEUES", [])


@pytest.fixture
def queue() -> Queue[Mail]:
    return Queue(
        Mail.objects.all(), task="test.send", lease=LEASE, backoff=WAITS, most_tries=3
    )


def add(user: User, count: int = 1, *, due_ago: timedelta = timedelta(0)) -> list[Mail]:
    at = database_time() - due_ago
    return Mail.objects.bulk_create(
        Mail(user=user, to=f"{n}@example.com", subject=f"{n}", created_at=at, due_at=at)
        for n in range(count)
    )


def end_leases() -> None:
    Mail.objects.exclude(lease=None).update(due_at=due.NOW)


class TestClaim:
    def test_eight_workers_claim_each_of_200_rows_once(
        self, alice: User, queue: Queue[Mail]
    ) -> None:
        add(alice, 200)

        def work() -> list[int]:
            claimed = []
            while (row := queue.claim()) is not None:
                claimed.append(row.pk)
            return claimed

        by_worker = at_once(8, work)
        claimed = [pk for worker in by_worker for pk in worker]
        assert len(claimed) == len(set(claimed)) == 200
        leases = Mail.objects.values_list("lease", flat=True)
        assert len(set(leases)) == 200
        assert set(Mail.objects.values_list("tries", flat=True)) == {1}

    def test_a_claimed_row_carries_what_the_table_holds(
        self, alice: User, queue: Queue[Mail]
    ) -> None:
        add(alice)
        row = queue.claim(subject="claimed")
        assert row is not None
        stored = Mail.objects.get()
        for name in ("due_at", "tries", "lease", "subject"):
            assert getattr(row, name) == getattr(stored, name)
        assert (row.tries, row.subject) == (1, "claimed")

    def test_the_row_that_is_due_longest_goes_first(
        self, alice: User, queue: Queue[Mail]
    ) -> None:
        [late] = add(alice, due_ago=timedelta(minutes=1))
        [latest] = add(alice, due_ago=timedelta(hours=1))
        [early] = add(alice)
        claimed = [row.pk for row in iter(queue.claim, None)]
        assert claimed == [latest.pk, late.pk, early.pk]

    def test_a_row_with_fewer_tries_goes_before_one_that_failed(
        self, alice: User, queue: Queue[Mail]
    ) -> None:
        [failed] = add(alice, due_ago=timedelta(hours=1))
        Mail.objects.update(tries=1)
        [new] = add(alice)
        assert [row.pk for row in iter(queue.claim, None)] == [new.pk, failed.pk]

    def test_a_claim_takes_only_the_rows_and_the_order_it_is_given(
        self, alice: User, queue: Queue[Mail]
    ) -> None:
        add(alice, 3)
        among = Mail.objects.exclude(subject="2")
        first = queue.claim(among, order=["-subject"])
        assert first is not None
        assert first.subject == "1"

    def test_rows_that_are_not_due_stay(self, alice: User, queue: Queue[Mail]) -> None:
        add(alice, due_ago=timedelta(minutes=-1))
        add(alice)
        Mail.objects.filter(due_at__lt=due.NOW).update(due_at=None)
        assert queue.claim() is None

    def test_a_claim_waits_for_no_lock(self, alice: User, queue: Queue[Mail]) -> None:
        [locked] = add(alice, due_ago=timedelta(hours=1))
        [free] = add(alice)
        held, done = threading.Event(), threading.Event()

        def hold_lock() -> None:
            try:
                with transaction.atomic():
                    Mail.objects.select_for_update().get(pk=locked.pk)
                    held.set()
                    done.wait(60)
            finally:
                connections.close_all()

        holder = threading.Thread(target=hold_lock)
        holder.start()
        assert held.wait(60)
        begun = time.monotonic()
        claimed = queue.claim()
        assert claimed is not None
        assert claimed.pk == free.pk
        assert queue.claim() is None
        assert time.monotonic() - begun < 5
        done.set()
        holder.join()

    def test_the_database_says_when_a_lease_ends(
        self, alice: User, queue: Queue[Mail], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add(alice)
        # This worker's machine is a day ahead: it takes no row away from another.
        ahead = timezone.now() + timedelta(days=1)
        monkeypatch.setattr(timezone, "now", lambda: ahead)
        before = database_time()
        row = queue.claim()
        assert row is not None
        assert row.due_at is not None
        assert before + LEASE <= row.due_at <= database_time() + LEASE
        assert queue.claim() is None


class TestFencing:
    def test_a_stalled_worker_writes_nothing_after_the_next_one_finished(
        self, alice: User, queue: Queue[Mail]
    ) -> None:
        add(alice)
        stalled = queue.claim()
        end_leases()
        second = queue.claim()
        assert stalled is not None
        assert second is not None
        assert (second.pk, second.tries) == (stalled.pk, 2)
        assert queue.finish(second, subject="by the second") is True
        assert queue.renew(stalled) is False
        assert queue.retry(stalled, subject="late") is False
        assert queue.finish(stalled, subject="late") is False
        assert queue.claimed_row(stalled).update(subject="late") == 0
        row = Mail.objects.get()
        assert (row.subject, row.due_at, row.tries) == ("by the second", None, 2)

    def test_a_stalled_worker_writes_nothing_while_the_next_one_works(
        self, alice: User, queue: Queue[Mail]
    ) -> None:
        add(alice)
        stalled = queue.claim()
        end_leases()
        second = queue.claim()
        assert stalled is not None
        assert second is not None
        assert queue.finish(stalled, subject="late") is False
        row = Mail.objects.get()
        assert (row.lease, row.due_at) == (second.lease, second.due_at)

    def test_a_restarted_row_is_lost_to_the_worker_that_had_it(
        self, alice: User, queue: Queue[Mail]
    ) -> None:
        add(alice)
        row = queue.claim()
        assert row is not None
        assert queue.restart(Mail.objects.all(), subject="again") == 1
        assert queue.finish(row) is False
        again = queue.claim()
        assert again is not None
        # The counts of both are 1: what tells them apart is the lease.
        assert (again.tries, row.tries, again.subject) == (1, 1, "again")
        assert queue.finish(row) is False
        assert queue.finish(again) is True

    def test_a_row_that_was_never_claimed_cannot_be_written(
        self, alice: User, queue: Queue[Mail]
    ) -> None:
        [row] = add(alice)
        with pytest.raises(ValueError, match="not claimed"):
            queue.finish(row)
        assert Mail.objects.get().due_at is not None

    def test_one_of_many_late_writers_wins(
        self, alice: User, queue: Queue[Mail]
    ) -> None:
        add(alice)
        row = queue.claim()
        assert row is not None
        assert sorted(at_once(6, lambda: queue.finish(row))) == [False] * 5 + [True]


class TestLease:
    def test_a_heartbeat_keeps_the_row(self, alice: User, queue: Queue[Mail]) -> None:
        add(alice)
        row = queue.claim()
        assert row is not None
        Mail.objects.update(due_at=due.NOW + timedelta(milliseconds=200))
        before = database_time()
        assert queue.renew(row, subject="half done") is True
        time.sleep(0.3)
        assert queue.claim() is None
        stored = Mail.objects.get()
        assert stored.due_at is not None
        assert before + LEASE <= stored.due_at <= database_time() + LEASE
        assert (stored.subject, stored.tries) == ("half done", 1)
        assert queue.finish(row) is True

    def test_a_killed_workers_row_is_due_at_the_end_of_its_lease(
        self, alice: User, queue: Queue[Mail], tmp_path: Path
    ) -> None:
        add(alice)
        command = ("django", "shell", "-v0", "-c", HANGING_WORKER)
        with processes.running(
            *command,
            log=tmp_path / "worker",
            DJANGO_SETTINGS_MODULE="focus.settings",
        ) as worker:
            processes.until(Mail.objects.exclude(lease=None).exists, seconds=60)
            processes.kill(worker)
        dead = Mail.objects.get()
        assert dead.due_at is not None
        claimed = None
        while claimed is None:
            looked_at = database_time()
            claimed = queue.claim()
            # No worker gets the row before the lease has ended.
            assert claimed is None or database_time() >= dead.due_at
            assert looked_at < dead.due_at + timedelta(seconds=5)
            time.sleep(0.02)
        assert claimed.tries == 2
        assert claimed.lease != dead.lease
        assert queue.finish(claimed) is True

    def test_claims_of_dead_workers_use_up_the_tries(
        self, alice: User, queue: Queue[Mail]
    ) -> None:
        add(alice)
        told = []
        for _ in range(4):
            row = queue.claim()
            assert row is not None
            told.append((queue.is_last(row), queue.is_spent(row)))
            end_leases()
        assert told == [(False, False), (False, False), (True, False), (True, True)]

    def test_without_a_limit_no_try_is_the_last(self, alice: User) -> None:
        endless = Queue(Mail.objects.all(), task="test", lease=LEASE, backoff=WAITS)
        add(alice)
        Mail.objects.update(tries=due.MOST_COUNTED)
        row = endless.claim()
        assert row is not None
        assert not endless.is_last(row)
        assert not endless.is_spent(row)
        assert row.tries == due.MOST_COUNTED


class TestBackoff:
    def test_each_wait_is_twice_the_one_before_up_to_the_longest(self) -> None:
        minutes = [WAITS.after(tries) / timedelta(minutes=1) for tries in range(1, 8)]
        assert minutes == [1, 2, 4, 8, 10, 10, 10]
        assert WAITS.after(10_000) == timedelta(minutes=10)

    def test_spread_adds_up_to_its_share(self) -> None:
        spread = Backoff(first=timedelta(10), longest=timedelta(40), spread=0.5)
        waits = [spread.after(1) / timedelta(1) for _ in range(200)]
        assert min(waits) >= 10
        assert max(waits) <= 15
        assert max(waits) - min(waits) > 1
        assert spread.after(9) <= timedelta(60)

    def test_a_retry_waits_from_the_failure_on(
        self, alice: User, queue: Queue[Mail]
    ) -> None:
        add(alice)
        Mail.objects.update(tries=2)
        row = queue.claim()
        assert row is not None
        before = database_time()
        assert queue.retry(row, subject="failed") is True
        stored = Mail.objects.get()
        assert stored.due_at is not None
        wait = timedelta(minutes=4)
        assert before + wait <= stored.due_at <= database_time() + wait
        assert (stored.subject, stored.tries, stored.lease) == ("failed", 3, None)
        assert queue.claim() is None


class TestSignOfLife:
    def test_a_row_that_no_worker_claims_is_a_failure_until_it_is_done(
        self, alice: User, queue: Queue[Mail]
    ) -> None:
        [row] = add(alice, due_ago=due.OVERDUE + timedelta(minutes=1))
        overdue.watch()
        failure = Failure.objects.get(healed_at=None)
        assert (failure.task, failure.subject) == ("test.send", "queue accounts_mail")
        assert f"{row.due_at:%Y-%m-%d %H:%M}" in failure.error
        claimed = queue.claim()
        assert claimed is not None
        overdue.watch()
        assert not Failure.objects.filter(healed_at=None).exists()

    def test_rows_that_wait_or_are_worked_on_are_not_overdue(
        self, alice: User, queue: Queue[Mail]
    ) -> None:
        add(alice, due_ago=due.OVERDUE - timedelta(seconds=30))
        add(alice, due_ago=timedelta(hours=-1))
        assert queue.overdue_since() is None
        overdue.watch()
        assert not Failure.objects.exists()

    def test_beat_runs_the_task_of_every_queue_and_the_watch(
        self, settings: LazySettings
    ) -> None:
        by_table = {queue.name: queue.task for queue in SERVER_QUEUES}
        assert set(by_table) == {
            "accounts_clerklookup",
            "accounts_mail",
            "accounts_sync",
            "jobs_run",
            "jobs_storedfile",
            "payments_plan",
            "payments_stripeevent",
            "payments_topupattempt",
            "wallet_verification",
        }
        beat = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
        assert beat >= {*by_table.values(), "focus.watch_queues"}
        app.loader.import_default_modules()
        assert set(app.tasks) >= {*by_table.values(), "focus.watch_queues"}

    def test_a_queue_that_is_switched_off_is_not_overdue(self, alice: User) -> None:
        Queue(
            Mail.objects.all(),
            task="test.off",
            lease=LEASE,
            backoff=WAITS,
            is_on=lambda: False,
        )
        add(alice, due_ago=timedelta(days=1))
        overdue.watch()
        assert not Failure.objects.exists()
