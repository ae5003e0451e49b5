"""Which events jobs and charges write, for which account, in which transaction."""

import json
import uuid
from typing import Any

import pytest
from django.db import transaction

from accounts import sealed
from accounts.credentials.principals import AppInactive
from accounts.models import App, User
from accounts.partners import consents
from accounts.signin import closing
from focus.money import MICRO
from jobs import expiry, extensions, lifecycle, usage
from jobs.lifecycle import Caller
from jobs.models import Delivery, Endpoint, Event, Job, Usage
from jobs.webhooks import outbox, signatures
from tests.counting import statements
from wallet import ledger

JOBS = ["job.created", "job.completed", "job.failed", "job.expired"]


@pytest.fixture
def owned(video: App, bob: User) -> App:
    """The app belongs to bob. Alice uses it."""
    video.owner = bob
    video.save()
    return video


def listening(user: User, events: list[str], **more: Any) -> Endpoint:
    secret = sealed.seal(signatures.new_secret().encode(), purpose="webhooks")
    return Endpoint.objects.create(
        account=user,
        url=f"https://example.com/{Endpoint.objects.count()}",
        events=events,
        secret=secret,
        **more,
    )


def start(alice: User, app: App, **more: Any) -> Job:
    return lifecycle.start(
        **{
            "account_id": alice.pk,
            "app": app,
            "action": "render",
            "estimate_micro": 5 * MICRO,
            "metadata": {"scene": 55.0},
            "actor": "test",
            **more,
        }
    ).job


def complete(job: Job, cost: int, **metadata: Any) -> lifecycle.Outcome:
    return lifecycle.complete(
        job_id=job.pk,
        caller=Caller("test", app_id=job.app_id),
        cost_micro=cost,
        metadata=metadata,
    )


def event_bodies() -> list[dict[str, Any]]:
    return [json.loads(bytes(event.body)) for event in Event.objects.order_by("id")]


@pytest.fixture
def rich(alice: User, give: Any, video: App) -> User:
    give(alice, 20)
    consents.grant(user=alice, app_id=video.pk)
    return alice


def test_a_job_writes_an_event_at_its_start_and_its_end(
    rich: User, owned: App, bob: User
) -> None:
    endpoint = listening(bob, JOBS)
    job = start(rich, owned)
    complete(job, 3_250_000, frames=12)
    created, completed = event_bodies()
    data = {
        "job_id": str(job.pk),
        "app": "video",
        "action": "render",
        "status": "started",
        "user_id": str(rich.pk),
        "reserved": 5,
        "charged": 0,
        "refunded": 0,
        "uncovered": 0,
        "metadata": {"scene": 55},
    }
    when = created["timestamp"]
    assert created == {"event": "job.created", "data": data, "timestamp": when}
    assert completed["event"] == "job.completed"
    assert completed["data"] == {
        **data,
        "status": "completed",
        "charged": 3.25,
        "refunded": 1.75,
        "metadata": {"scene": 55, "frames": 12},
    }
    event = Event.objects.earliest("id")
    assert bytes(event.body).startswith(b'{"data":{"action":"render","app":"video",')
    assert b'"metadata":{"scene":55}' in bytes(event.body)
    assert (event.account, event.app) == (bob, owned)
    for delivery in Delivery.objects.all():
        assert delivery.endpoint == endpoint
        assert (delivery.state, delivery.trigger) == ("pending", "auto")
        assert (delivery.tries, delivery.attempts) == (0, 0)


def test_a_failed_and_an_expired_job_write_their_events(
    rich: User, owned: App, bob: User, time_passes: Any
) -> None:
    listening(bob, JOBS)
    caller = Caller("test", app_id=owned.pk)
    for refund in (True, False):
        job = start(rich, owned)
        lifecycle.fail(job_id=job.pk, caller=caller, refund=refund, fail_reason="")
    start(rich, owned, ttl_seconds=60)
    time_passes(61)
    assert expiry.expire_due() == 1
    ends = [e for e in event_bodies() if e["event"] != "job.created"]
    assert [
        (e["event"], e["data"]["status"], e["data"]["charged"], e["data"]["refunded"])
        for e in ends
    ] == [
        ("job.failed", "failed", 0, 5),
        ("job.failed", "failed", 5, 0),
        ("job.expired", "expired", 0, 5),
    ]


def test_each_endpoint_gets_the_types_that_it_subscribes_to(
    rich: User, owned: App, bob: User, staff: User
) -> None:
    both = listening(bob, ["job.created", "job.completed"])
    ends = listening(bob, ["job.completed", "something.to.come"])
    listening(bob, JOBS, disabled_at="2026-01-01T00:00Z", disabled_because="owner")
    listening(bob, JOBS, deleted_at="2026-01-01T00:00Z")
    listening(rich, JOBS)
    listening(staff, JOBS)
    complete(start(rich, owned), 0)
    heard = Delivery.objects.order_by("event__type", "created_at")
    assert {(d.event.type, d.endpoint_id) for d in heard.select_related("event")} == {
        ("job.created", both.pk),
        ("job.completed", both.pk),
        ("job.completed", ends.pk),
    }


def test_an_event_reaches_the_account_that_it_is_addressed_to(
    rich: User, owned: App, bob: User, staff: User
) -> None:
    ready = listening(rich, ["export.ready"])
    also_ready = listening(rich, ["export.ready", "job.created"])
    listening(rich, JOBS)
    listening(bob, ["export.ready"])
    listening(staff, ["export.ready"])
    about = uuid.uuid4()
    deliveries = outbox.write(
        account_id=rich.pk,
        app_id=owned.pk,
        name="export.ready",
        about=about,
        data={"export": 1},
    )
    assert deliveries == 2
    event = Event.objects.get()
    assert (event.account, event.app, event.about) == (rich, owned, about)
    reached = set(Delivery.objects.values_list("endpoint", flat=True))
    assert reached == {ready.pk, also_ready.pk}


def test_an_event_without_an_app_is_written(alice: User) -> None:
    listening(alice, ["export.ready"])
    written = outbox.write(
        account_id=alice.pk, name="export.ready", about=uuid.uuid4(), data={}
    )
    assert written == 1
    assert Event.objects.get().app is None


def test_without_a_subscribed_endpoint_nothing_is_written(
    rich: User, owned: App, video: App, bob: User
) -> None:
    listening(bob, ["export.ready"])
    complete(start(rich, owned), 0)
    assert not Event.objects.exists()
    owned.owner = None
    owned.save()
    complete(start(rich, owned), 0)
    assert not Event.objects.exists()


def test_a_closed_account_gets_no_events(rich: User, owned: App, bob: User) -> None:
    job = start(rich, owned)
    listening(bob, [*JOBS, "credits.consumed"])
    closing.close(user=bob, actor="staff")
    complete(job, 3)
    # The app of the closed account charges nothing either.
    with pytest.raises(AppInactive):
        start(rich, owned)
    assert not Event.objects.exists()
    closing.reopen(user=bob, actor="staff")
    complete(start(rich, owned), 3)
    assert Event.objects.count() == 2


def test_a_refusal_and_a_repeat_write_no_event(
    rich: User, owned: App, bob: User
) -> None:
    listening(bob, JOBS)
    with pytest.raises(ledger.InsufficientCredits):
        start(rich, owned, estimate_micro=100 * MICRO)
    assert event_bodies() == []
    job = start(rich, owned)
    complete(job, MICRO)
    complete(job, MICRO)
    with pytest.raises(lifecycle.JobNotStarted):
        complete(job, 2 * MICRO)
    assert [e["event"] for e in event_bodies()] == ["job.created", "job.completed"]


def test_a_rollback_removes_the_event(rich: User, owned: App, bob: User) -> None:
    listening(bob, JOBS)
    job = start(rich, owned)

    def crash() -> None:
        with transaction.atomic():
            complete(job, MICRO)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        crash()
    assert [e["event"] for e in event_bodies()] == ["job.created"]


def test_no_endpoint_costs_no_statement_and_one_costs_one(
    rich: User, owned: App, bob: User
) -> None:
    with statements() as before:
        complete(start(rich, owned), 0)
    listening(bob, JOBS)
    with statements() as after:
        complete(start(rich, owned), 0)
    assert len(after) == len(before) + 1
    # The start of a job writes its event in the reservation's own statement.
    assert sum("ledger.reserve" in sql for sql in after) == 1


def test_an_extension_writes_no_event_and_costs_two_statements(
    rich: User, owned: App, bob: User
) -> None:
    listening(bob, JOBS)
    job = start(rich, owned)
    caller = Caller("test", app_id=owned.pk)
    with statements() as sent:
        extensions.extend(job_id=job.pk, caller=caller, ttl_seconds=7200)
    written = [sql for sql in sent if "SAVEPOINT" not in sql]
    assert len(written) == 2
    assert [body["event"] for body in event_bodies()] == ["job.created"]


@pytest.mark.parametrize("refund", [True, False])
def test_a_failing_job_costs_one_statement_for_its_event(
    rich: User, owned: App, bob: User, refund: bool
) -> None:
    caller = Caller("test", app_id=owned.pk)

    def fail() -> list[str]:
        job = start(rich, owned)
        with statements() as sent:
            ended = lifecycle.fail(
                job_id=job.pk, caller=caller, refund=refund, fail_reason="no GPU"
            ).job
        # The returned instance equals the written row.
        row = Job.objects.get(pk=job.pk)
        for field in Job._meta.concrete_fields:
            if field.name != "created_at":
                assert getattr(ended, field.attname) == getattr(row, field.attname)
        assert (row.status, row.fail_reason) == ("failed", "no GPU")
        return sent

    silent = fail()
    listening(bob, JOBS)
    assert len(fail()) == len(silent) + 1
    # One statement reads and locks the row, and one writes it with the credits.
    assert sum("jobs_job" in sql for sql in silent) == 2


def test_no_metadata_can_fail_a_settle(rich: User, owned: App, bob: User) -> None:
    listening(bob, JOBS)
    job = start(rich, owned)
    odd = {"n": 10**400, "f": 1e308, "0": [{}], "s": "\u2028\x7f", "__proto__": 1}
    complete(job, 0, **odd)
    assert event_bodies()[-1]["data"]["metadata"]["n"] is None


def test_a_charge_writes_one_event(rich: User, owned: App, bob: User) -> None:
    def charge() -> None:
        usage.charge(
            account_id=rich.pk,
            app=owned,
            amount_micro=1_500_000,
            reason="one image",
            key="k1",
            actor="test",
        )

    listening(bob, ["credits.consumed"])
    charge()
    with pytest.raises(usage.DuplicateRequest):
        charge()
    [event] = event_bodies()
    assert event["event"] == "credits.consumed"
    assert event["data"] == {
        "transaction_id": str(Usage.objects.get().movement_id),
        "app": "video",
        "user_id": str(rich.pk),
        "amount": 1.5,
        "reason": "one image",
        "idempotency_key": "k1",
    }


def test_a_charge_without_an_endpoint_costs_no_statement_more(
    rich: User, owned: App, bob: User
) -> None:
    def charge(key: str) -> int:
        with statements() as sent:
            usage.charge(
                account_id=rich.pk,
                app=owned,
                amount_micro=MICRO,
                reason="",
                key=key,
                actor="test",
            )
        return len(sent)

    charge("warm")
    silent = charge("k1")
    listening(bob, ["credits.consumed"])
    assert charge("k2") == silent + 1
