"""Staff cancel runs of hosted work and start failed ones again."""

from typing import Any

import pytest
from django.utils import timezone

from accounts.models import SecurityEvent, User
from accounts.partners import consents, first_party
from focus.money import MICRO
from jobs.hosted import runs
from jobs.models import Job, Price, Run
from tests import hosted
from tests.doors.browsing import Browser
from tests.doors.hosted_rows import does
from wallet import ledger

pytestmark = pytest.mark.django_db

ROLES = ["viewer", "support", "finance", "superuser"]


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own kind of work, at the app reviv."""
    monkeypatch.setitem(runs.KINDS, "test", hosted.KIND)


def acted(kind: str) -> list[tuple[str, User | None, dict[str, Any]]]:
    events = SecurityEvent.objects.filter(kind=kind).order_by("pk")
    return [(event.actor, event.user, event.facts) for event in events]


@pytest.mark.usefixtures("work")
class TestRuns:
    @pytest.fixture
    def queued(self, alice: User, give: Any) -> Run:
        """A run that has reserved 1 credit."""
        give(alice, 5)
        app = first_party.app("reviv")
        Price.objects.create(
            app=app, action="restore", unit="photo", credits_micro=MICRO
        )
        return hosted.start(alice)

    @pytest.fixture
    def lost(self, queued: Run) -> Run:
        """The run after its work failed: its credit was returned."""
        runs.fail_job(queued, "The work failed.")
        Run.objects.filter(pk=queued.pk).update(
            state="failed",
            due_at=None,
            finished_at=timezone.now(),
            tries=3,
            error_code="memory",
            error_sentence="The work failed.",
            error_detail="MemoryError",
        )
        queued.refresh_from_db()
        return queued

    @pytest.mark.parametrize("role", ROLES)
    def test_staff_cancel_a_run_and_the_credits_return(
        self, role: str, queued: Run, alice: User
    ) -> None:
        text = does(role, Run, "cancel", queued)
        queued.refresh_from_db()
        reserved = ledger.balance(account_id=alice.pk).reserved_micro
        if role == "viewer":
            assert (queued.state, reserved) == ("queued", MICRO)
            assert acted("run_cancelled") == []
            return
        assert (queued.state, reserved) == ("cancelled", 0)
        assert "is cancelled." in text
        facts = {"run_id": str(queued.pk), "job_id": str(queued.job_id)}
        once = [(f"{role}@staff.example.com", alice, facts)]
        assert acted("run_cancelled") == once
        assert "had ended before." in does(role, Run, "cancel", queued)
        assert acted("run_cancelled") == once

    @pytest.mark.parametrize("role", ROLES)
    def test_staff_start_a_failed_run_again_with_a_job_of_its_own(
        self, role: str, lost: Run, alice: User
    ) -> None:
        first = lost.job_id
        text = does(role, Run, "requeue", lost)
        lost.refresh_from_db()
        reserved = ledger.balance(account_id=alice.pk).reserved_micro
        if role == "viewer":
            assert (lost.state, lost.job_id, reserved) == ("failed", first, 0)
            assert acted("run_requeued") == []
            return
        assert "is queued again." in text
        assert (lost.state, lost.tries, lost.error_sentence) == ("queued", 0, "")
        assert lost.job_id != first
        assert reserved == MICRO
        assert Job.objects.get(pk=first).status == "failed"
        facts = {"run_id": str(lost.pk), "job_id": str(first)}
        assert acted("run_requeued") == [(f"{role}@staff.example.com", alice, facts)]

    def test_a_refused_restart_changes_nothing_and_says_why(
        self, lost: Run, alice: User
    ) -> None:
        consents.revoke(user=alice, app_id=lost.job.app_id)
        before = Run.objects.values().get(pk=lost.pk)
        text = does("support", Run, "requeue", lost)
        assert "is queued again." not in text
        assert Run.objects.values().get(pk=lost.pk) == before
        assert acted("run_requeued") == []
        assert Job.objects.count() == 1

    def test_only_failed_runs_start_again(self, queued: Run) -> None:
        text = does("support", Run, "requeue", queued)
        assert "The run is queued, not failed." in text
        assert acted("run_requeued") == []

    def test_one_refusal_stops_no_other_run(self, queued: Run, alice: User) -> None:
        other = hosted.start(alice)
        Run.objects.filter(pk=queued.pk).update(
            state="done", due_at=None, finished_at=timezone.now()
        )
        text = does("support", Run, "cancel", queued, other)
        assert "had ended before." in text
        assert "is cancelled." in text
        other.refresh_from_db()
        assert other.state == "cancelled"

    def test_the_owner_reads_that_support_acted(self, queued: Run, alice: User) -> None:
        does("support", Run, "cancel", queued)
        account = Browser()
        account.sign_in()
        html = account.get("/security").content.decode()
        assert "Support cancelled one of your jobs" in html
        assert "support@staff" not in html
