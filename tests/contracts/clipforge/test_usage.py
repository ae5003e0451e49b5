"""ClipForge guide, "Monitor Usage": sums of the account's jobs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.credentials import user_keys
from accounts.models import App, User
from accounts.partners import first_party
from jobs import lifecycle
from jobs.models import Job

pytestmark = pytest.mark.django_db


@pytest.fixture
def as_key(alice: User) -> APIClient:
    secret = user_keys.issue(user=alice, name="x").secret
    return APIClient(headers={"X-Api-Key": secret})


def done(user: User, app: App, action: str, **metadata: Any) -> Job:
    started = lifecycle.start(
        account_id=user.pk,
        app=app,
        action=action,
        estimate_micro=0,
        metadata=metadata,
        actor="test",
        hosted=first_party.is_hosted(app),
    )
    return lifecycle.complete(
        job_id=started.job.pk,
        caller=lifecycle.Caller("test", account_id=user.pk, hosted=True),
        cost_micro=0,
        metadata={},
    ).job


def test_an_account_without_jobs_has_no_usage(as_key: APIClient) -> None:
    now = datetime.now(UTC)
    ends = (now.replace(day=1) + timedelta(days=31)).replace(day=1)
    assert as_key.get("/v1/usage").json() == {
        "period": f"{now:%Y-%m}",
        "minutesProcessed": 0,
        "exportsCount": 0,
        "minutesLimit": 600,
        "exportsLimit": 100,
        "quotaMinutes": 600,
        "quotaExports": 100,
        "resetDate": f"{ends:%Y-%m-%d}T00:00:00Z",
        "creditsCharged": 0,
        "apps": [],
    }


def test_completed_jobs_of_this_month_are_summed(
    as_key: APIClient, alice: User, bob: User, video: App
) -> None:
    app = App.objects.create(slug="clipforge", name="ClipForge")
    done(alice, app, "detect", minutes=12.5)
    done(alice, app, "export", minutes=1)
    done(alice, app, "export", minutes="many")
    old = done(alice, app, "export", minutes=100)
    Job.objects.filter(pk=old.pk).update(
        created_at="2026-01-31T23:58:59Z", settled_at="2026-01-31T23:59:59Z"
    )
    done(alice, video, "export", minutes=100)
    done(bob, app, "export", minutes=100)
    body = as_key.get("/v1/usage").json()
    assert (body["minutesProcessed"], body["exportsCount"]) == (13.5, 2)
