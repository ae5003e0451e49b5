"""Sums of charges by jobs, calls and sales, exact at the edges of days and months."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from rest_framework.test import APIClient

from accounts.credentials import user_keys
from accounts.models import App, User
from accounts.partners import consents, first_party
from focus.money import MICRO
from jobs import lifecycle, tool_purchases, usage
from jobs.models import Job, ToolPurchase, Usage
from tests.counting import statements
from tests.doors.browsing import Browser

pytestmark = pytest.mark.django_db


@pytest.fixture
def mine(alice: User, tool: App) -> App:
    """A tool that alice sells."""
    tool.owner = alice
    tool.save()
    return tool


@pytest.fixture(autouse=True)
def _rich(bob: User, give: Callable[..., Any]) -> None:
    give(bob, 1000)


def started(user: User, app: App, amount: int) -> Job:
    return lifecycle.start(
        account_id=user.pk,
        app=app,
        action="render",
        estimate_micro=amount * MICRO,
        metadata={},
        actor="test",
        hosted=first_party.is_hosted(app),
    ).job


def settled(user: User, app: App, amount: int, cost: int) -> Job:
    job = started(user, app, amount)
    hosted = first_party.is_hosted(app)
    caller = lifecycle.Caller("test", app_id=app.pk, hosted=hosted)
    return lifecycle.complete(
        job_id=job.pk, caller=caller, cost_micro=cost * MICRO, metadata={}
    ).job


def failed(user: User, app: App, amount: int, *, refund: bool) -> Job:
    job = started(user, app, amount)
    caller = lifecycle.Caller("test", app_id=app.pk)
    return lifecycle.fail(
        job_id=job.pk, caller=caller, refund=refund, fail_reason=""
    ).job


def called(user: User, app: App, amount: int, key: str) -> Usage:
    consents.grant(user=user, app_id=app.pk)
    usage.charge(
        account_id=user.pk,
        app=app,
        amount_micro=amount * MICRO,
        reason="used",
        key=key,
        actor="test",
    )
    return Usage.objects.get(app=app, key=key)


def bought(user: User, app: App) -> ToolPurchase:
    purchase = tool_purchases.create(user=user, tool_id=app.pk)
    tool_purchases.process(user=user, purchase_id=purchase.pk)
    return purchase


def all_three(user: User, app: App) -> None:
    """35 credits: two jobs of 4 and 1, one of no charge, a call of 5, a sale of 25."""
    settled(user, app, 6, 4)
    failed(user, app, 1, refund=False)
    settled(user, app, 0, 0)
    called(user, app, 5, "k")
    bought(user, app)
    # A returned reservation and an open one are no charges.
    failed(user, app, 7, refund=True)
    started(user, app, 9)


def test_a_vendors_day_counts_jobs_calls_and_sales(mine: App, bob: User) -> None:
    all_three(bob, mine)
    *before, today = usage.per_day(app_id=mine.pk)
    assert (today.jobs, today.calls, today.sales) == (3, 1, 1)
    assert today.charged_micro == 35 * MICRO
    assert len(before) == 29
    assert not any(day.charged_micro or day.jobs for day in before)


def test_the_vendors_pages_show_the_sums(mine: App, bob: User, video: App) -> None:
    all_three(bob, mine)
    settled(bob, video, 3, 3)
    alices = Browser()
    alices.sign_in()
    page = alices.get(f"/vendor/{mine.pk}").content.decode()
    for name, shown in {
        "last 30 days": 35,
        "Calls": 1,
        "Sales": 1,
        "settled": 3,
    }.items():
        assert f"{name}</dt><dd>{shown}</dd>" in page
    assert (
        "35 credits charged in the last 30 days"
        in alices.get("/vendor").content.decode()
    )


def test_a_persons_month_counts_charges_by_app(
    mine: App, video: App, alice: User, bob: User
) -> None:
    all_three(bob, mine)
    settled(bob, video, 3, 2)
    key = user_keys.issue(user=bob, name="x").secret
    body = APIClient(headers={"X-Api-Key": key}).get("/v1/usage").json()
    assert body["creditsCharged"] == 37
    assert body["apps"] == [
        {"app": "tool", "jobs": 3, "calls": 1, "sales": 1, "credits": 35},
        {"app": "video", "jobs": 1, "calls": 0, "sales": 0, "credits": 2},
    ]
    # The vendor was charged nothing.
    key = user_keys.issue(user=alice, name="x").secret
    body = APIClient(headers={"X-Api-Key": key}).get("/v1/usage").json()
    assert (body["creditsCharged"], body["apps"]) == (0, [])


@pytest.mark.parametrize("kind", ["job", "call", "sale"])
def test_a_months_edge_is_exact_for_each_kind(mine: App, bob: User, kind: str) -> None:
    """A charge belongs to the month in which the ledger moved its credits."""
    now = datetime.now(UTC)
    begins = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    ends = (begins + timedelta(days=31)).replace(day=1)
    tick = timedelta(microseconds=1)
    for number, at in enumerate([begins - tick, begins, ends - tick, ends]):
        if kind == "job":
            # Each job began in an earlier month.
            job = settled(bob, mine, 2, 1)
            Job.objects.filter(pk=job.pk).update(
                settled_at=at, created_at=begins - timedelta(days=40)
            )
        elif kind == "call":
            call = called(bob, mine, 1, f"{number}")
            Usage.objects.filter(pk=call.pk).update(created_at=at)
        else:
            ToolPurchase.objects.create(
                account=bob,
                app=mine,
                price_micro=25 * MICRO,
                expires_at=at,
                paid_at=at,
                movement_id=uuid4(),
            )
    month = usage.this_month(account_id=bob.pk, hosted_by="clipforge")
    [row] = month.apps
    assert (month.begins, month.ends) == (begins, ends)
    assert getattr(row, f"{kind}s") == 2
    assert row.charged_micro == (50 if kind == "sale" else 2) * MICRO


def test_a_days_edge_is_midnight_in_utc(mine: App, bob: User) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for at in (midnight, midnight - timedelta(microseconds=1)):
        job = settled(bob, mine, 2, 1)
        Job.objects.filter(pk=job.pk).update(settled_at=at)
    *_, yesterday, today = usage.per_day(app_id=mine.pk)
    assert (yesterday.jobs, today.jobs) == (1, 1)


@pytest.mark.parametrize("said", [1e300, -5, True, "12", None, [1]])
def test_minutes_that_are_no_number_of_minutes_count_as_0(bob: User, said: Any) -> None:
    app = App.objects.create(slug="clipforge", name="ClipForge")
    job = settled(bob, app, 0, 0)
    Job.objects.filter(pk=job.pk).update(metadata={"minutes": said})
    month = usage.this_month(account_id=bob.pk, hosted_by="clipforge")
    assert month.minutes == 0


def test_a_month_is_one_query_and_its_sums_agree(mine: App, bob: User) -> None:
    clipforge = App.objects.create(slug="clipforge", name="ClipForge")
    all_three(bob, mine)
    for minutes in (1.25, 2.5):
        job = settled(bob, clipforge, 2, 1)
        done = {"action": "export", "metadata": {"minutes": minutes}}
        Job.objects.filter(pk=job.pk).update(**done)
    with statements() as sent:
        month = usage.this_month(account_id=bob.pk, hosted_by="clipforge")
    assert len(sent) == 1
    assert (month.minutes, month.exports) == (3.75, 2)
    assert [(row.app, row.charged_micro) for row in month.apps] == [
        ("clipforge", 2 * MICRO),
        (mine.slug, 35 * MICRO),
    ]
    assert month.charged_micro == 37 * MICRO


def test_a_month_without_a_charge_lists_no_app(bob: User) -> None:
    month = usage.this_month(account_id=bob.pk, hosted_by="clipforge")
    assert (month.apps, month.charged_micro) == ([], 0)
    assert (month.minutes, month.exports) == (0, 0)


def test_a_month_among_years_of_rows_is_read_by_index(mine: App, bob: User) -> None:
    ids: dict[str, Any] = {"account": bob.pk, "app": mine.pk, "slug": mine.slug}
    with connection.cursor() as cursor:
        cursor.execute(_YEARS_OF_JOBS, ids)
        cursor.execute(_YEARS_OF_CALLS, ids)
        cursor.execute("ANALYZE jobs_job, jobs_usage")
        cursor.execute(f"EXPLAIN {usage._THIS_MONTH}", ids)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    month = usage.this_month(account_id=bob.pk, hosted_by=mine.slug)
    [row] = month.apps
    jobs = Job.objects.filter(settled_at__gte=month.begins).count()
    calls = Usage.objects.filter(created_at__gte=month.begins).count()
    assert 0 < jobs < 1000
    assert (row.jobs, row.calls, month.minutes) == (jobs, calls, jobs)
    assert row.charged_micro == month.charged_micro == jobs + calls
    assert "Seq Scan on jobs_job" not in plan
    assert "Seq Scan on jobs_usage" not in plan
    # Once for the sums by app, and once for the hosted minutes.
    assert plan.count("job_settled_of_account") == 2, plan
    assert "usage_of_an_account" in plan


# One row every two hours, back from now.
_YEARS_OF_JOBS = """
    INSERT INTO jobs_job (id, account_id, app_id, action, status, reserved_micro,
      charged_micro, refunded_micro, uncovered_micro, late, fail_reason, metadata,
      expires_at, settled_at)
    SELECT gen_random_uuid(), %(account)s, %(app)s, 'render', 'completed', 1, 1, 0, 0,
      false, '', '{"minutes": 1}', now(), ledger.now() - n * interval '2 hours'
    FROM generate_series(0, 20000) n
"""
_YEARS_OF_CALLS = """
    INSERT INTO jobs_usage (account_id, app_id, key, amount_micro, reason, movement_id,
      balance_after_micro, created_at)
    SELECT %(account)s, %(app)s, 'many:' || n, 1, '', gen_random_uuid(), 0,
      ledger.now() - n * interval '2 hours'
    FROM generate_series(0, 20000) n
"""
