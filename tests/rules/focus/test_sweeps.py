"""Background work: a failed row, step or task is recorded and stops no other."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import DataError
from django.test import Client
from django.utils import timezone

import accounts.tasks
import jobs.tasks
import payments.tasks
from accounts import mails
from accounts.models import App, Mail, User
from accounts.recovery import mailbox
from focus import health
from focus.background import sweeps
from focus.models import Failure
from jobs import expiry
from jobs.models import Job
from payments import gateway, inbox
from tests.doors.staffroom import browser, in_role
from tests.rules.jobs.test_outbox import start


def open_failures() -> list[tuple[str, str]]:
    rows = Failure.objects.filter(healed_at=None).order_by("pk")
    return list(rows.values_list("task", "subject"))


class TestSweep:
    def work(self, *bad: str, over: tuple[str, ...] = ("a", "b", "c")) -> list[str]:
        sweep, done = sweeps.Sweep("test.work"), []
        for name in over:
            if name in sweep.backing_off:
                continue
            with sweep.each(name):
                if name in bad:
                    raise ValueError(f"{name} is bad\x00")
                done.append(name)
        sweep.end(complete=True)
        return done

    def wake(self) -> None:
        Failure.objects.update(last_at=timezone.now() - timedelta(hours=2))

    def test_one_bad_subject_stops_no_other(self, db: None) -> None:
        assert self.work("a") == ["b", "c"]
        assert open_failures() == [("test.work", "a")]
        assert Failure.objects.get().error == "ValueError: a is bad"

    def test_a_failed_subject_backs_off_then_counts_and_is_closed(
        self, db: None
    ) -> None:
        self.work("a")
        assert self.work("a") == ["b", "c"]
        assert Failure.objects.get().times == 1
        self.wake()
        self.work("a")
        assert Failure.objects.get().times == 2
        self.wake()
        assert self.work() == ["a", "b", "c"]
        assert open_failures() == []
        self.work("a")
        assert Failure.objects.count() == 2

    def test_a_subject_that_is_no_longer_due_is_closed(self, db: None) -> None:
        self.work("a")
        self.wake()
        self.work(over=("b",))
        assert open_failures() == []

    def test_a_subject_that_backs_off_stays_open(self, db: None) -> None:
        self.work("a")
        self.work(over=("b",))
        assert open_failures() == [("test.work", "a")]

    def test_a_refusal_of_every_subject_ends_the_run(self, db: None) -> None:
        sweep = sweeps.Sweep("test.work")
        ends = (gateway.StripeDown,)
        with pytest.raises(gateway.StripeDown), sweep.each("a", ends=ends):
            raise gateway.StripeDown("down")
        assert open_failures() == []

    def test_one_run_at_a_time_in_a_process(self) -> None:
        begun, go_on, runs = threading.Event(), threading.Event(), []

        @sweeps.one_at_a_time
        def work() -> None:
            runs.append(1)
            begun.set()
            go_on.wait(60)

        first = threading.Thread(target=work)
        first.start()
        assert begun.wait(60)
        work()
        go_on.set()
        first.join()
        assert runs == [1]
        work()
        assert runs == [1, 1]


class TestTasks:
    def test_a_task_that_fails_is_recorded_until_it_succeeds(
        self, db: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(inbox, "handle_due", _broken)
            payments.tasks.handle_events.apply()
            payments.tasks.handle_events.apply()
        assert open_failures() == [("payments.handle_events", "")]
        assert Failure.objects.get().times == 2
        payments.tasks.handle_events.apply()
        assert open_failures() == []

    def test_a_step_that_fails_keeps_no_other_from_running(
        self, alice: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mails.write(user=alice, subject="A letter", what="It is here.")
        monkeypatch.setattr(mailbox, "mail_due", _broken)
        accounts.tasks.send_mails.apply()
        assert Mail.objects.get().sent_at is not None
        [(task, step)] = open_failures()
        assert (task, step.rsplit(".", 1)[-1]) == ("accounts.send_mails", "_broken")

    def test_a_job_that_cannot_be_expired_stops_no_other(
        self,
        alice: User,
        video: App,
        give: Any,
        time_passes: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        give(alice, 20)
        broken, *others = [start(alice, video) for _ in range(3)]
        time_passes(7200)
        expire = expiry._expire

        def one_fails(job_id: Any) -> bool:
            if job_id == broken.pk:
                raise ValueError("what no database says")
            return expire(job_id)

        monkeypatch.setattr(expiry, "_expire", one_fails)
        jobs.tasks.expire_due.apply()
        ended = Job.objects.filter(status="expired").values_list("pk", flat=True)
        assert set(ended) == {job.pk for job in others}
        assert open_failures() == [("jobs.expire_due", str(broken.pk))]
        Failure.objects.update(last_at=timezone.now() - timedelta(hours=2))
        monkeypatch.undo()
        jobs.tasks.expire_due.apply()
        assert Job.objects.filter(status="expired").count() == 3
        assert open_failures() == []

    @pytest.mark.django_db(transaction=True)
    def test_health_shows_a_failure_and_stays_healthy(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(health, "checks", health.Checks(health.PROBES))
        before = client.get("/health").json()
        sweeps.record_failure(task="payments.reconcile", failure=ValueError("no"))
        sweeps.record_failure(
            task="jobs.expire_due", subject="1", failure=ValueError("no")
        )
        monkeypatch.setattr(health, "checks", health.Checks(health.PROBES))
        after = client.get("/health").json()
        assert after["failed_tasks"] == ["jobs.expire_due", "payments.reconcile"]
        assert (after["status"], after["checks"]) == (
            before["status"],
            before["checks"],
        )
        monkeypatch.setattr(health, "checks", health.Checks(health.PROBES))
        reviv = client.get("/api/health/").json()
        assert reviv["failed_tasks"] == after["failed_tasks"]
        assert "failed_tasks" not in reviv["checks"]

    def test_staff_read_failures_in_the_admin(self, db: None) -> None:
        sweeps.record_failure(
            task="payments.reconcile", failure=ValueError("it was refused")
        )
        page = browser(in_role("viewer")).get("/admin/focus/failure/")
        assert page.status_code == 200
        assert "it was refused" in page.content.decode()


def _broken() -> None:
    raise DataError("a page was refused")
