"""Parallel uploads, workers and deletions: the limit is exact, and nothing is left."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from jobs.models import Job, Restoration, Run, StoredFile
from tests.restorations import at, bearer, png, refused, upload, work
from tests.rules.accounts.test_races import at_once

pytestmark = pytest.mark.django_db(transaction=True)


def live_files() -> int:
    return StoredFile.objects.filter(deleted_at=None).count()


def test_of_20_uploads_at_once_six_are_accepted(
    as_owner: APIClient, alice: User
) -> None:
    answers = at_once(20, lambda: upload(bearer(alice)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201] * 6 + [403] * 14
    for answer in answers:
        if answer.status_code == 403:
            refused(answer, 403, "HISTORY_LIMIT", max_jobs=6)
    assert Restoration.objects.count() == Run.objects.count() == 6
    assert Job.objects.count() == live_files() == 6


def test_of_20_uploads_at_once_beside_five_photos_one_is_accepted(
    as_owner: APIClient, alice: User
) -> None:
    for _ in range(5):
        upload(as_owner)
    answers = at_once(20, lambda: upload(bearer(alice)))
    assert sorted(answer.status_code for answer in answers) == [201] + [403] * 19
    assert Restoration.objects.count() == live_files() == 6


def test_of_10_uploads_with_one_key_at_once_one_is_made(
    as_owner: APIClient, alice: User
) -> None:
    answers = at_once(10, lambda: upload(bearer(alice), key="once"))
    statuses = {answer.status_code for answer in answers}
    assert statuses <= {201, 409}
    first = [answer.json() for answer in answers if answer.status_code == 201]
    assert first
    assert all(body == first[0] for body in first)
    assert Restoration.objects.count() == live_files() == 1
    assert upload(as_owner, key="once").json() == first[0]


def test_of_8_deletions_at_once_one_deletes(as_owner: APIClient, alice: User) -> None:
    job_id = upload(as_owner).json()["job_id"]
    answers = at_once(8, lambda: bearer(alice).delete(at(job_id)))
    assert sorted(answer.status_code for answer in answers) == [200] + [404] * 7
    assert not live_files()


def test_a_photo_that_is_deleted_while_workers_restore_it_leaves_no_file(
    as_owner: APIClient, alice: User
) -> None:
    for turn in range(6):
        job_id = upload(as_owner, png(dot=turn)).json()["job_id"]
        acts = iter(["work", "delete", "work"])

        def act(acts: Any = acts, job_id: int = job_id) -> Any:
            if next(acts) == "work":
                return work()
            return bearer(alice).delete(at(job_id)).status_code

        outcomes = at_once(3, act)
        assert 200 in outcomes
        assert all(it in (True, False, 200) for it in outcomes), outcomes
        assert not Restoration.objects.exists()
    # Results that no restoration took are removed in an hour by their own due time.
    kept = StoredFile.objects.filter(deleted_at=None, purpose="photo")
    assert not kept.exists()
    assert {run.state for run in Run.objects.all()} <= {"done", "cancelled"}
