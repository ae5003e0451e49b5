"""When a rule wakes the courier: once, after the commit that wrote deliveries."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from accounts.models import App, User
from accounts.partners import consents
from focus import nudges
from focus.money import MICRO
from jobs import expiry, lifecycle, usage
from jobs.lifecycle import Caller
from jobs.models import Delivery, Endpoint
from jobs.webhooks import endpoints, outbox, redelivery
from tests.rules.jobs.test_outbox import JOBS, complete, listening, start
from wallet import ledger

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def nudged(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """One item for each nudge: whether its transaction had ended by then."""
    seen: list[bool] = []

    def leave_word() -> None:
        seen.append(not transaction.get_connection().in_atomic_block)

    monkeypatch.setattr(nudges, "_request_nudge", lambda queue: leave_word)
    return seen


@pytest.fixture
def endpoint(bob: User, video: App) -> Endpoint:
    video.owner = bob
    video.save()
    return listening(bob, [*JOBS, "credits.consumed", "export.ready"])


@pytest.fixture
def rich(alice: User, give: Any, video: App) -> User:
    give(alice, 20)
    consents.grant(user=alice, app_id=video.pk)
    return alice


def write(user: User, name: str = "export.ready") -> int:
    return outbox.write(account_id=user.pk, name=name, about=uuid.uuid4(), data={})


def charge(user: User, app: App) -> usage.Charged:
    return usage.charge(
        account_id=user.pk,
        app=app,
        amount_micro=MICRO,
        reason="one image",
        key="k1",
        actor="test",
    )


def test_many_events_of_one_transaction_nudge_once_after_the_commit(
    rich: User, video: App, endpoint: Endpoint, nudged: list[bool]
) -> None:
    with transaction.atomic():
        for _ in range(3):
            write(endpoint.account)
        with transaction.atomic():
            complete(start(rich, video), MICRO)
        charge(rich, video)
        assert nudged == []
    assert Delivery.objects.count() == 6
    assert nudged == [True]


def test_a_rollback_nudges_nothing(endpoint: Endpoint, nudged: list[bool]) -> None:
    with transaction.atomic():
        assert write(endpoint.account) == 1
        transaction.set_rollback(True)
    assert nudged == []


def test_a_rollback_to_a_savepoint_takes_back_its_own_nudge_only(
    endpoint: Endpoint, nudged: list[bool]
) -> None:
    def write_and_crash() -> None:
        with transaction.atomic():
            write(endpoint.account)
            raise RuntimeError

    with transaction.atomic(), pytest.raises(RuntimeError):
        write_and_crash()
    assert nudged == []
    with transaction.atomic():
        with pytest.raises(RuntimeError):
            write_and_crash()
        write(endpoint.account)
    assert nudged == [True]
    with transaction.atomic():
        write(endpoint.account)
        with pytest.raises(RuntimeError):
            write_and_crash()
    assert nudged == [True, True]


def test_nothing_written_nudges_nothing(
    rich: User, video: App, endpoint: Endpoint, nudged: list[bool]
) -> None:
    assert write(endpoint.account, "something.else") == 0
    assert write(rich) == 0
    with pytest.raises(ledger.InsufficientCredits):
        start(rich, video, estimate_micro=100 * MICRO)
    Endpoint.objects.update(events=["export.ready"])
    complete(start(rich, video), MICRO)
    charge(rich, video)
    video.owner = None
    video.save()
    complete(start(rich, video), MICRO)
    assert (Delivery.objects.count(), nudged) == (0, [])


def test_a_repeat_nudges_nothing(
    rich: User, video: App, endpoint: Endpoint, nudged: list[bool]
) -> None:
    job = start(rich, video)
    complete(job, MICRO)
    charge(rich, video)
    before = len(nudged)
    complete(job, MICRO)
    with pytest.raises(usage.DuplicateRequest):
        charge(rich, video)
    assert len(nudged) == before


def test_every_rule_that_writes_deliveries_nudges(
    rich: User, video: App, endpoint: Endpoint, nudged: list[bool], time_passes: Any
) -> None:
    by_key = Caller("test", app_id=video.pk)

    def once(act: Callable[[], Any]) -> Any:
        before = len(nudged)
        result = act()
        assert nudged[before:] == [True]
        return result

    completed = once(lambda: start(rich, video))
    once(lambda: complete(completed, MICRO))
    failed = once(lambda: start(rich, video))
    once(
        lambda: lifecycle.fail(
            job_id=failed.pk, caller=by_key, refund=True, fail_reason=""
        )
    )
    once(lambda: charge(rich, video))
    once(lambda: start(rich, video, ttl_seconds=60))
    time_passes(61)
    once(expiry.expire_due)
    bob = endpoint.account
    made = once(lambda: redelivery.test(user=bob, endpoint_id=endpoint.pk))
    endpoints.disable(user=bob, endpoint_id=endpoint.pk)
    once(lambda: endpoints.enable(user=bob, endpoint_id=endpoint.pk))
    once(lambda: redelivery.resend(user=bob, delivery_id=made.pk))
    once(lambda: redelivery.recover(user=bob, endpoint_id=endpoint.pk))
    before = len(nudged)
    assert redelivery.recover(user=bob, endpoint_id=endpoint.pk) == 0
    redelivery.resend(user=bob, delivery_id=made.pk)
    assert len(nudged) == before
