"""Wake the webhook worker at once, instead of at its next poll within a second.

A request only sets an event, which takes microseconds and cannot fail. A thread of this
process sends the nudge, at most once in `PAUSE_SECONDS`. If Redis is unreachable, the
nudge is lost and the delivery waits for the next poll.
"""

import logging
import threading
import time
from functools import cache

import redis
from django.db import connection, transaction
from kombu.exceptions import OperationalError

from focus.celery import app, heartbeat_redis

PAUSE_SECONDS = 0.05

log = logging.getLogger(__name__)


def wake_courier() -> None:
    """Wake the worker once after this transaction commits, or at once outside of one.

    Further calls in the same transaction add nothing. A rollback, also to a savepoint
    before the call, takes the call back.
    """
    if not any(_request_nudge in hook for hook in connection.run_on_commit):
        transaction.on_commit(_request_nudge, robust=True)


def _request_nudge() -> None:
    _nudge_event().set()


@cache
def _nudge_event() -> threading.Event:
    """Return the event of this process, and start its thread.

    Created at first use, so a forked process has its own thread.
    """
    wanted = threading.Event()
    threading.Thread(
        target=_send_nudges, args=(wanted,), name="nudges", daemon=True
    ).start()
    return wanted


def _send_nudges(wanted: threading.Event) -> None:
    while wanted.wait():
        wanted.clear()
        try:
            # A message that still waits in the queue wakes the courier as well.
            if not heartbeat_redis().llen("webhooks"):
                app.send_task(
                    "jobs.wake_courier", queue="webhooks", expires=4, retry=False
                )
        except (redis.RedisError, OperationalError) as gone:
            log.debug("nudge not sent: %s", type(gone).__name__)
        except Exception:
            log.exception("nudge not sent")
        time.sleep(PAUSE_SECONDS)
