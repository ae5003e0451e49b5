"""Claims and leases of deliveries, and the verdicts on answers."""

import threading
import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import Mail, SecurityEvent, User
from focus.outgoing.safe_http import PostResult
from jobs.models import Attempt, Delivery, Endpoint, Event
from jobs.webhooks import delivery, endpoints, outbox, redelivery, retention
from jobs.webhooks.delivery import Sent, claim, record
from jobs.webhooks.verdicts import judge
from tests.webhooks import refreshed, register_endpoint, send_test_events

State = Delivery.State


def answered(to: Endpoint, *answers: PostResult) -> Delivery:
    """A delivery, tried once for each of these answers."""
    [row] = send_test_events(to)
    for answer in answers:
        Delivery.objects.filter(pk=row.pk).update(due_at=timezone.now())
        [claimed] = claim(limit=8, in_trouble=8)
        record([Sent(claimed, answer, time.monotonic())])
    return refreshed(row)


@pytest.mark.parametrize("status", range(200, 600))
def test_the_verdict_on_every_status(status: int) -> None:
    verdict = judge(PostResult(status), tries=0)
    expected = (
        State.SUCCEEDED if status < 300
        else State.FAILED if 400 <= status < 500
        else State.PENDING
    )  # fmt: skip
    assert verdict.state == expected
    assert verdict.wait_seconds == (1 if expected == State.PENDING else None)
    assert verdict.disable == ("gone" if status == 410 else "")


@pytest.mark.parametrize(
    "error", ["timeout", "dns", "tls", "refused", "reset", "unreachable", "bad_http"]
)
def test_a_failed_connection_is_tried_five_times(error: str) -> None:
    waits = [judge(PostResult(error=error), tries=n).wait_seconds for n in range(5)]
    assert waits == [1, 2, 4, 8, None]
    assert judge(PostResult(error=error), tries=4).state == State.FAILED


@pytest.mark.parametrize("error", ["blocked_address", "unreadable_secret"])
def test_a_final_error_is_not_retried(error: str) -> None:
    assert judge(PostResult(error=error), tries=0).state == State.FAILED


def test_headers_of_an_answer_abort_disable_and_pause() -> None:
    ask = {"webhook-delivery": "abort-message"}
    assert judge(PostResult(503, headers=ask), tries=0).state == State.FAILED
    ask = {"webhook-delivery": "disable"}
    assert judge(PostResult(503, headers=ask), tries=0).disable == "asked"
    for text, seconds in [("7", 7), ("0", 0), ("99999", 300), ("tomorrow", 0), ("", 0)]:
        verdict = judge(PostResult(429, headers={"retry-after": text}), tries=0)
        assert (verdict.state, verdict.pause_seconds) == (State.FAILED, seconds)


def test_eight_claims_at_once_share_no_delivery(
    alice: User, transactional_db: None
) -> None:
    """Eight at once, over three endpoints: each delivery once, no cap exceeded."""
    for n in range(3):
        send_test_events(
            register_endpoint(alice, f"http://127.0.0.1:1099/{n}", troubled=False), 6
        )
    gate, claims = threading.Barrier(8), []

    def take() -> None:
        gate.wait()
        claims.extend(claim(limit=32, in_trouble=32))
        connections.close_all()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    claims += claim(limit=32, in_trouble=32)
    assert len(claims) == 12
    assert len({one.delivery for one in claims}) == 12
    assert claim(limit=32, in_trouble=32) == []


def test_a_claim_keeps_to_both_limits(alice: User) -> None:
    for n in range(3):
        send_test_events(
            register_endpoint(alice, f"http://127.0.0.1:1099/{n}", troubled=n > 0), 6
        )
    assert len(claim(limit=2, in_trouble=2)) == 2
    Delivery.objects.update(lease=None, due_at=timezone.now())
    assert len(claim(limit=32, in_trouble=0)) == 4
    assert len(claim(limit=32, in_trouble=1)) == 1
    assert len(claim(limit=32, in_trouble=5)) == 1
    assert claim(limit=0, in_trouble=1) == []


@pytest.mark.parametrize(
    "aside",
    [
        {"disabled_at": timezone.now(), "disabled_because": "owner"},
        {"deleted_at": timezone.now()},
        {"paused_until": timezone.now() + timedelta(days=1)},
    ],
)
def test_a_disabled_deleted_or_paused_endpoint_gets_nothing(
    alice: User, aside: dict[str, Any]
) -> None:
    to = register_endpoint(alice)
    send_test_events(to)
    Endpoint.objects.update(**aside)
    assert claim(limit=8, in_trouble=8) == []


def lose_lease(row: Delivery) -> None:
    Delivery.objects.filter(pk=row.pk).update(due_at=timezone.now())


def test_a_lost_attempt_is_repeated_and_counts_no_try(alice: User) -> None:
    [row] = send_test_events(register_endpoint(alice))
    [first] = claim(limit=8, in_trouble=8)
    assert claim(limit=8, in_trouble=8) == []
    lose_lease(row)
    [second] = claim(limit=8, in_trouble=8)
    assert (second.n, second.tries) == (2, 0)
    # The answer of the worker that lost the lease changes nothing.
    record([Sent(first, PostResult(200), time.monotonic())])
    assert refreshed(row).state == State.PENDING
    assert row.lease == second.lease
    record([Sent(second, PostResult(503), time.monotonic())])
    assert (refreshed(row).tries, row.attempts, row.interruptions) == (1, 2, 0)
    states = [(a.n, a.state, a.status) for a in Attempt.objects.order_by("n")]
    assert states == [(1, "interrupted", None), (2, "done", 503)]


def test_a_lease_that_is_renewed_is_not_lost(alice: User) -> None:
    [row] = send_test_events(register_endpoint(alice))
    [claimed] = claim(limit=8, in_trouble=8)
    lose_lease(row)
    delivery.renew([claimed.lease])
    assert claim(limit=8, in_trouble=8) == []
    assert refreshed(row).due_at > timezone.now()


def test_a_delivery_that_kills_three_workers_fails(alice: User) -> None:
    [row] = send_test_events(register_endpoint(alice))
    for n in range(3):
        [claimed] = claim(limit=8, in_trouble=8)
        assert claimed.n == n + 1
        lose_lease(row)
    assert claim(limit=8, in_trouble=8) == []
    assert (refreshed(row).state, row.last_error) == (State.FAILED, "interrupted")
    assert redelivery.recover(user=alice, endpoint_id=row.endpoint_id) == 1
    # A recovery allows as many interruptions as a first delivery.
    for _ in range(3):
        assert len(claim(limit=8, in_trouble=8)) == 1
        lose_lease(row)
    assert claim(limit=8, in_trouble=8) == []


def test_410_disables_the_endpoint_and_mails_its_owner(alice: User) -> None:
    to = register_endpoint(alice)
    waiting = send_test_events(to)[0]
    [claimed] = claim(limit=8, in_trouble=8)
    [later] = send_test_events(to)
    Mail.objects.all().delete()
    record([Sent(claimed, PostResult(410), time.monotonic())])
    to.refresh_from_db()
    assert to.disabled_because == "gone"
    assert (refreshed(waiting).state, waiting.last_status) == (State.FAILED, 410)
    assert (refreshed(later).state, later.last_error) == (State.FAILED, "disabled")
    assert {m.subject for m in Mail.objects.all()} == {
        "Deliveries to a webhook endpoint fail",
        "A webhook endpoint was paused",
    }
    event = SecurityEvent.objects.get(kind="webhook_endpoint_disabled")
    assert event.facts == {"endpoint_id": str(to.pk), "because": "gone"}
    endpoints.enable(user=alice, endpoint_id=to.pk)
    assert redelivery.recover(user=alice, endpoint_id=to.pk) == 2


def test_a_day_of_failures_disables_and_one_success_resets(alice: User) -> None:
    to = register_endpoint(alice)
    bad, good = PostResult(404), PostResult(200)
    for _ in range(25):
        answered(to, bad)
    to.refresh_from_db()
    assert (to.disabled_at, to.given_up) == (None, 25)
    assert (
        Mail.objects.filter(
            subject__contains="Deliveries to a webhook endpoint fail"
        ).count()
        == 1
    )
    Endpoint.objects.update(failing_since=F("failing_since") - timedelta(hours=25))
    answered(to, good)
    to.refresh_from_db()
    assert (to.failing_since, to.given_up) == (None, 0)
    for n in range(20):
        answered(to, bad)
        if n == 0:
            day = F("failing_since") - timedelta(hours=25)
            Endpoint.objects.update(failing_since=day)
    to.refresh_from_db()
    assert to.disabled_because == "failing"
    assert Mail.objects.filter(subject__contains="was paused").count() == 1


def test_an_endpoint_is_troubled_by_its_last_answer(alice: User) -> None:
    to = register_endpoint(alice)
    for answer, troubled in [
        (PostResult(500), True),
        (PostResult(200), False),
        (PostResult(200, duration_ms=9000), True),
        (PostResult(404), False),
        (PostResult(error="timeout"), True),
    ]:
        answered(to, answer)
        Delivery.objects.filter(state="pending").update(
            state="canceled", ended_at=timezone.now(), lease=None
        )
        to.refresh_from_db()
        assert to.troubled == troubled, answer


def test_429_pauses_the_endpoint(alice: User) -> None:
    to = register_endpoint(alice)
    row = answered(to, PostResult(429, headers={"retry-after": "30"}))
    assert row.state == State.FAILED
    send_test_events(to)
    assert claim(limit=8, in_trouble=8) == []
    Endpoint.objects.update(paused_until=timezone.now())
    assert len(claim(limit=8, in_trouble=8)) == 1


def test_recovering_a_range(alice: User, bob: User) -> None:
    to = register_endpoint(alice)
    rows = [answered(to, PostResult(404)) for _ in range(4)]
    good = answered(to, PostResult(200))
    for n, row in enumerate(rows):
        then = timezone.now() - timedelta(hours=10 - n)
        Delivery.objects.filter(pk=row.pk).update(created_at=then)
    since, until_ = (timezone.now() - timedelta(hours=h) for h in (9.5, 7.5))
    again = redelivery.recover(user=alice, endpoint_id=to.pk, since=since, until=until_)
    assert again == 2
    assert [refreshed(row).state for row in rows] == [
        "failed",
        "pending",
        "pending",
        "failed",
    ]
    assert redelivery.recover(user=alice, endpoint_id=to.pk) == 2
    assert redelivery.recover(user=alice, endpoint_id=to.pk) == 0
    assert refreshed(good).state == State.SUCCEEDED


def test_resending_a_pending_delivery_keeps_its_lease(alice: User) -> None:
    [row] = send_test_events(register_endpoint(alice))
    [claimed] = claim(limit=8, in_trouble=8)
    assert redelivery.resend(user=alice, delivery_id=row.pk).lease == claimed.lease
    assert claim(limit=8, in_trouble=8) == []


def test_a_finished_attempt_can_be_neither_changed_nor_deleted(alice: User) -> None:
    answered(register_endpoint(alice), PostResult(200))
    for change in (
        lambda: Attempt.objects.update(status=500),
        lambda: Attempt.objects.all().delete(),
    ):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            change()


def test_a_delivery_that_ended_a_month_ago_is_deleted(alice: User) -> None:
    to = register_endpoint(alice)
    old, young = answered(to, PostResult(404)), answered(to, PostResult(404))
    [waiting] = send_test_events(to)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE jobs_attempt DISABLE TRIGGER jobs_attempts_stay")
        month = timezone.now() - timedelta(days=31)
        Attempt.objects.filter(delivery=old).update(started_at=month)
        cursor.execute("ALTER TABLE jobs_attempt ENABLE TRIGGER jobs_attempts_stay")
    Delivery.objects.filter(pk=old.pk).update(ended_at=month)
    Event.objects.filter(pk__in=[old.event_id, waiting.event_id]).update(
        created_at=month
    )
    assert retention.forget_old() == 1
    assert set(Delivery.objects.all()) == {young, waiting}
    assert set(Event.objects.values_list("pk", flat=True)) == {
        young.event_id,
        waiting.event_id,
    }
    assert Attempt.objects.get().delivery == young


def test_uuids_of_events_grow_with_time() -> None:
    made = []
    for _ in range(3):
        made.append(outbox._uuid7())
        time.sleep(0.002)
    assert made == sorted(made)
    assert {(u.version, u.variant) for u in made} == {(7, uuid.RFC_4122)}
