"""Nudges wake the courier after the commit, once for many, without blocking."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.conf import settings
from django.db import transaction

from focus import celery, nudges
from tests.processes import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def queue() -> Iterator[redis.Redis]:
    store = redis.Redis.from_url(settings.REDIS_URL)
    store.delete("webhooks")
    celery.heartbeat_redis.cache_clear()
    yield store
    store.delete("webhooks")
    store.close()


def test_many_nudges_send_one_message_after_the_commit(queue: redis.Redis) -> None:
    with transaction.atomic():
        for _ in range(100):
            nudges.wake_courier()
        assert queue.llen("webhooks") == 0
    until(lambda: queue.llen("webhooks") == 1)
    nudges.wake_courier()
    until(lambda: not nudges._nudge_event("webhooks").is_set())
    assert queue.llen("webhooks") == 1


def test_a_rollback_sends_no_nudge(queue: redis.Redis) -> None:
    with transaction.atomic():
        nudges.wake_courier()
        transaction.set_rollback(True)
    assert not nudges._nudge_event("webhooks").is_set()


def test_a_missing_valkey_raises_nothing(
    monkeypatch: pytest.MonkeyPatch, queue: redis.Redis
) -> None:
    def gone() -> Any:
        raise redis.ConnectionError

    monkeypatch.setattr(nudges, "heartbeat_redis", gone)
    for _ in range(100):
        nudges.wake_courier()
    until(lambda: not nudges._nudge_event("webhooks").is_set())
    assert queue.llen("webhooks") == 0
