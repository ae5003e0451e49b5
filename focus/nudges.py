"""Wake a worker at once, instead of at its next poll within a second or two.

A request only sets an event, which takes microseconds and cannot fail. A thread of this
process sends the nudge, at most once in `PAUSE_SECONDS`. If Redis is unreachable, the
nudge is lost and the work waits for the next poll.
"""

import logging
import threading
import time
from functools import cache, partial

import redis
from django.db import connection, transaction
from kombu.exceptions import OperationalError

from focus.celery import app, heartbeat_redis

PAUSE_SECONDS = 0.05
# The task that wakes the worker of each queue.
TASKS = {"webhooks": "jobs.wake_courier", "media": "jobs.wake_media"}

log = logging.getLogger(__name__)


def wake_courier() -> None:
    """Wake the webhook worker once after this transaction commits, or at once outside.

    Further calls in the same transaction add nothing. A rollback, also to a savepoint
    before the call, takes the call back.
    """
    _wake_after_commit("webhooks")


def wake_media() -> None:
    """Wake the media worker, as `wake_courier` does the webhook worker."""
    _wake_after_commit("media")


def _wake_after_commit(queue: str) -> None:
    request = _request_nudge(queue)
    if not any(request in hook for hook in connection.run_on_commit):
        transaction.on_commit(request, robust=True)


@cache
def _request_nudge(queue: str) -> partial[None]:
    return partial(_set_event, queue)


def _set_event(queue: str) -> None:
    _nudge_event(queue).set()


@cache
def _nudge_event(queue: str) -> threading.Event:
    """Return the event of this process for the queue, and start its thread.

    Created at first use, so a forked process has its own thread.
    """
    wanted = threading.Event()
    threading.Thread(
        target=_send_nudges, args=(queue, wanted), name=f"nudge {queue}", daemon=True
    ).start()
    return wanted


def _send_nudges(queue: str, wanted: threading.Event) -> None:
    while wanted.wait():
        wanted.clear()
        try:
            # A message that still waits in the queue wakes the worker as well.
            if not heartbeat_redis().llen(queue):
                app.send_task(TASKS[queue], queue=queue, expires=4, retry=False)
        except (redis.RedisError, OperationalError) as gone:
            log.debug("nudge not sent: %s", type(gone).__name__)
        except Exception:
            log.exception("nudge not sent")
        time.sleep(PAUSE_SECONDS)
