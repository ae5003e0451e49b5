"""Waking the courier: after the commit, once for many, and never in anybody's way."""

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


def test_a_word_is_left_after_the_commit_and_one_is_enough(queue: redis.Redis) -> None:
    with transaction.atomic():
        for _ in range(100):
            nudges.wake_courier()
        assert queue.llen("webhooks") == 0
    until(lambda: queue.llen("webhooks") == 1)
    nudges.wake_courier()
    until(lambda: not nudges._nudge_event().is_set())
    assert queue.llen("webhooks") == 1


def test_what_is_rolled_back_leaves_no_word(queue: redis.Redis) -> None:
    with transaction.atomic():
        nudges.wake_courier()
        transaction.set_rollback(True)
    assert not nudges._nudge_event().is_set()


def test_with_valkey_gone_nobody_notices(
    monkeypatch: pytest.MonkeyPatch, queue: redis.Redis
) -> None:
    def gone() -> Any:
        raise redis.ConnectionError

    monkeypatch.setattr(nudges, "heartbeat_redis", gone)
    for _ in range(100):
        nudges.wake_courier()
    until(lambda: not nudges._nudge_event().is_set())
    assert queue.llen("webhooks") == 0
