"""Reading jobs: by an index, as of the ledger's clock, and without other attributes."""

from typing import Any

import pytest
from django.db import connection

from accounts.models import App, User
from accounts.partners import consents
from jobs import lifecycle, listing
from jobs.lifecycle import Caller
from jobs.models import Job
from tests.counting import statements
from tests.rules.jobs.test_outbox import start


@pytest.mark.django_db
def test_a_page_is_read_off_an_index(alice: User, video: App) -> None:
    with connection.cursor() as cursor:
        # Otherwise the planner reads an empty table as a whole.
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
    mine = listing._jobs(Caller("app:video", app_id=video.pk), None, None)[:50]
    hers = listing._jobs(Caller("alice", account_id=alice.pk), None, None)[:50]
    assert "using job_listed_of_app " in mine.explain()
    assert "using job_listed " in hers.explain()
    assert "Sort" not in mine.explain() + hers.explain()


@pytest.mark.django_db
def test_a_read_job_is_as_of_the_clock_and_holds_its_columns_only(
    alice: User, video: App, give: Any, time_passes: Any
) -> None:
    give(alice, 20)
    consents.grant(user=alice, app_id=video.pk)
    job = start(alice, video, ttl_seconds=60)
    caller = Caller("alice", account_id=alice.pk)
    columns = {field.attname for field in Job._meta.concrete_fields} | {"_state"}

    def both() -> list[lifecycle.JobAsOf]:
        with statements() as sent:
            [listed] = listing.listed(caller=caller, limit=10)
            found = lifecycle.find(job_id=job.pk, caller=caller)
        assert len(sent) == 2
        return [listed, found]

    for read in both():
        assert read.status == "started"
        assert set(vars(read.job)) == columns
    time_passes(61)
    assert {(read.status, read.job.status) for read in both()} == {
        ("expired", "started")
    }
