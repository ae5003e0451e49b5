"""A page of jobs is found, and not looked for among everybody's."""

import pytest
from django.db import connection

from accounts.models import App, User
from jobs import lifecycle
from jobs.lifecycle import Caller


@pytest.mark.django_db
def test_a_page_is_read_off_an_index(alice: User, video: App) -> None:
    with connection.cursor() as cursor:
        # Otherwise the planner reads an empty table as a whole.
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
    mine = lifecycle.listed(caller=Caller("app:video", app_id=video.pk))[:50]
    hers = lifecycle.listed(caller=Caller("alice", account_id=alice.pk))[:50]
    assert "using job_listed_of_app " in mine.explain()
    assert "using job_listed " in hers.explain()
    assert "Sort" not in mine.explain() + hers.explain()
