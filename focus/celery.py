"""The Celery app, and the heartbeats that the health checks read.

Run as `celery -A focus.celery worker` and `celery -A focus.celery beat`. Due times are
in rows; a task only looks for due rows, so a lost task delays work and loses none.
"""

import logging
import os
from functools import cache
from typing import Any

import celery.beat
import redis
from celery import Celery
from celery.signals import heartbeat_sent, task_failure, task_success
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "focus.settings")
app = Celery("focus")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

WORKER_ALIVE = "focus:alive:worker"
BEAT_ALIVE = "focus:alive:beat"
WEBHOOKS_ALIVE = "focus:alive:webhooks"
SLOW_ALIVE = "focus:alive:slow"
MEDIA_ALIVE = "focus:alive:media"
# What the media worker found: {"word", "percent", "sentence"} as JSON.
MEDIA_STATE = "focus:media"
# A worker and beat record a heartbeat every 2 s, so an expired key missed seven.
ALIVE_SECONDS = 15

log = logging.getLogger(__name__)


@cache
def heartbeat_redis() -> redis.Redis:
    """Return the Redis client for heartbeats. A call takes at most two seconds."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=1,
        socket_connect_timeout=1,
        # One retry, for a pooled connection that died. redis-py's default back-off is
        # so long that a living worker would miss its heartbeat.
        retry=Retry(NoBackoff(), 1),
    )


def record_heartbeat(key: str) -> None:
    """Record a heartbeat under `key`. An unreachable Redis is logged and ignored."""
    try:
        heartbeat_redis().set(key, "1", ex=ALIVE_SECONDS)
    except redis.RedisError as gone:
        log.debug("heartbeat not recorded: %s", type(gone).__name__)


@heartbeat_sent.connect
def _worker_alive(sender: Any, **_more: Any) -> None:
    # The webhook worker and the media worker record their own: jobs/tasks.py.
    queues = sender.eventer.app.amqp.queues.consume_from
    if "celery" in queues:
        record_heartbeat(WORKER_ALIVE)
    if "slow" in queues:
        record_heartbeat(SLOW_ALIVE)


# These tasks run often and need no database; their workers hold one connection.
UNRECORDED = {"jobs.wake_courier", "jobs.wake_media"}


@task_failure.connect
def _task_failed(sender: Any, exception: BaseException, **_more: Any) -> None:
    from focus.background import sweeps

    sweeps.record_failure(task=sender.name, failure=exception)


@task_success.connect
def _task_succeeded(sender: Any, **_more: Any) -> None:
    from focus.background import sweeps

    if sender.name not in UNRECORDED:
        sweeps.record_success(task=sender.name)


class Scheduler(celery.beat.Scheduler):
    """Beat without a state file: every schedule is a plain interval."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        wait: float = super().tick(*args, **kwargs)
        record_heartbeat(BEAT_ALIVE)
        return wait
