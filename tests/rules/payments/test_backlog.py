"""A backlog of events does not delay payments: lanes take turns, retries back off."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from payments import inbox
from payments.models import StripeEvent
from tests.till import Till, credits_of

PLENTY = 300


def backlog(kind: str, *, tries: int = 0, count: int = PLENTY) -> None:
    """Write due events about objects that Stripe does not have."""
    now = timezone.now()
    lanes = StripeEvent.Lane
    payment = kind in inbox.PAYMENT_TYPES
    lane = {
        (True, False): lanes.PAYMENT,
        (False, False): lanes.OTHER,
        (True, True): lanes.PAYMENT_AGAIN,
        (False, True): lanes.OTHER_AGAIN,
    }[payment, tries > 0]
    StripeEvent.objects.bulk_create(
        StripeEvent(
            stripe_id=f"evt_{uuid.uuid4().hex}",
            type=kind,
            object_id=f"gone_{n}",
            livemode=False,
            happened_at=now,
            due_at=now - timedelta(hours=1),
            tries=tries,
            lane=lane,
        )
        for n in range(count)
    )


@pytest.fixture(autouse=True)
def _any_turn() -> None:
    """Start at a random turn: the tests must pass at any of them."""
    for _ in range(uuid.uuid4().int % len(inbox.TURNS)):
        next(inbox._turns)


def asked(till: Till) -> int:
    return len(till.stripe.requests())


@pytest.mark.parametrize("tries", [0, 3])
@pytest.mark.parametrize(
    "kind", ["customer.subscription.updated", "checkout.session.completed"]
)
def test_a_purchase_passes_a_backlog(
    till: Till, alice: User, kind: str, tries: int
) -> None:
    backlog(kind, tries=tries)
    till.buy(alice)
    till.post_events(till.new_events("checkout.session.completed"))
    before = asked(till)
    assert inbox.handle_due(limit=len(inbox.TURNS)) >= 1
    assert credits_of(alice) == 5
    assert asked(till) - before <= 2 * len(inbox.TURNS)


def test_old_events_do_not_starve_behind_new_ones(till: Till, alice: User) -> None:
    till.buy(alice)
    till.post_events(till.new_events("checkout.session.completed"))
    StripeEvent.objects.update(due_at=timezone.now() - timedelta(hours=2))
    backlog("checkout.session.completed")
    inbox.handle_due(limit=len(inbox.TURNS))
    assert credits_of(alice) == 5


def test_retries_get_their_turns_while_new_events_arrive(till: Till) -> None:
    backlog("customer.subscription.updated")
    backlog("customer.subscription.updated", tries=3)
    inbox.handle_due(limit=2 * len(inbox.TURNS))
    assert StripeEvent.objects.filter(tries=4).count() == 2
    assert StripeEvent.objects.filter(tries=1).count() == 10


def test_events_that_came_together_are_retried_at_different_times(till: Till) -> None:
    backlog("customer.subscription.updated", count=40)
    inbox.handle_due(limit=40)
    again = StripeEvent.objects.filter(lane=StripeEvent.Lane.OTHER_AGAIN)
    assert again.count() == 40
    times = [due for due in again.values_list("due_at", flat=True) if due]
    assert max(times) - min(times) > timedelta(seconds=1)


def test_an_event_that_staff_retry_has_no_earlier_tries(till: Till) -> None:
    backlog("invoice.paid", tries=30, count=1)
    row = StripeEvent.objects.get()
    StripeEvent.objects.update(state="failed", due_at=None)
    inbox.handle_again(event_id=row.pk)
    row.refresh_from_db()
    assert (row.lane, row.tries, row.state) == (0, 0, "pending")


def test_a_stalled_worker_writes_no_outcome_after_staff_handle_it_again(
    till: Till,
) -> None:
    backlog("customer.subscription.updated", count=1)
    stalled = inbox._claim(0)
    assert stalled is not None
    inbox.handle_again(event_id=stalled.pk)
    assert inbox._finish(stalled, StripeEvent.State.DONE, "late") is False
    inbox._back_off(stalled, ValueError("late"))
    row = StripeEvent.objects.get()
    assert (row.state, row.outcome, row.tries) == ("pending", "", 0)
    assert inbox._claim(0) is not None


def test_an_event_is_given_up_after_its_workers_all_died(till: Till) -> None:
    backlog("customer.subscription.updated", tries=inbox.TRIES, count=1)
    before = asked(till)
    assert inbox.handle_due() == 0
    row = StripeEvent.objects.get()
    assert (row.state, row.due_at, row.lease) == ("failed", None, None)
    assert row.outcome == "a worker died in every try"
    assert asked(till) == before


def test_a_refused_event_is_never_handled(db: None) -> None:
    row = StripeEvent.objects.create(
        stripe_id="refused:1",
        type="unreadable",
        livemode=False,
        happened_at=timezone.now(),
        state=StripeEvent.State.REFUSED,
    )
    inbox.handle_again(event_id=row.pk)
    row.refresh_from_db()
    assert (row.state, row.due_at) == ("refused", None)


def test_quick_tasks_have_a_queue_without_slow_tasks(settings: Any) -> None:
    """Only these two call no service but PostgreSQL."""
    queues: dict[str, set[str]] = {}
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        queues.setdefault(entry["options"]["queue"], set()).add(entry["task"])
    assert queues["celery"] == {"jobs.expire_due", "wallet.expire_grants"}
    # The slow worker has 20 threads, and each task runs once at a time.
    assert len(queues["slow"]) <= 20
