"""Runs on real connections and processes: they end once, and their jobs with them."""

import pytest

from accounts.models import User
from jobs.models import Job, Run
from tests.hosted import start, work

pytestmark = pytest.mark.django_db(transaction=True)


def fresh(run: Run) -> Run:
    return Run.objects.select_related("job").get(pk=run.pk)


def test_a_run_is_done_and_its_job_is_settled(alice: User) -> None:
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
