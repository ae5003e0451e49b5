"""The heartbeat of a run, on its own."""

import pytest
from django.utils import timezone

from accounts.models import User
from jobs.hosted.heartbeat import Heartbeat
from jobs.hosted.runs import KINDS, QUEUE, State
from jobs.models import Run
from tests import hosted

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_heartbeat_that_cannot_write_gives_the_run_up(alice: User) -> None:
    hosted.start(alice)
    run = QUEUE.claim(Run.objects.all(), state=State.RUNNING, started_at=timezone.now())
    assert run is not None
    assert run.kind in KINDS
    with Heartbeat(run, 600) as heart:
        # PostgreSQL does not store U+0000.
        heart.note(50, "a\0b")
        assert heart.lost.wait(30)
    run.refresh_from_db()
    assert (run.percent, run.stage) == (0, "")
