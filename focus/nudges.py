"""Wake the webhook worker now instead of at its next look, a second later at most.

A request only leaves word, which costs a few microseconds and cannot fail; a thread of
this process passes it on, at most once in `PAUSE_SECONDS`. With Redis gone the word is
lost, and so is that second.
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
    if not any(_leave_word in hook for hook in connection.run_on_commit):
        transaction.on_commit(_leave_word, robust=True)


def _leave_word() -> None:
    _messenger().set()


@cache
def _messenger() -> threading.Event:
    """Made at first use: a process that was forked before has a thread of its own."""
    word = threading.Event()
    threading.Thread(target=_carry, args=(word,), name="nudges", daemon=True).start()
    return word


def _carry(word: threading.Event) -> None:
    while word.wait():
        word.clear()
        try:
            # One that still waits there wakes it just as well.
            if not heartbeat_redis().llen("webhooks"):
                app.send_task(
                    "jobs.wake_courier", queue="webhooks", expires=4, retry=False
                )
        except (redis.RedisError, OperationalError) as gone:
            log.debug("No word to the courier: %s", type(gone).__name__)
        except Exception:
            log.exception("No word to the courier")
        time.sleep(PAUSE_SECONDS)
