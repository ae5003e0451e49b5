"""The courier of one worker process: claims what is due, sends it, writes what came.

One thread talks to the database and to nobody else; as many others as it was given talk
to endpoints and hold no connection to the database. It looks by itself every second, so
whoever wakes it earlier only saves that second.
"""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection

from focus.outgoing.safe_http import PostResult
from jobs.webhooks import delivery
from jobs.webhooks.delivery import Claimed, Sent

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
RENEW_SECONDS = 4.0
# A request that takes longer gives its place to another: those that hang cost a thread
# that waits, and nobody else's time. There is an end to that, too.
SLOW_SECONDS = 1.0
MOST_SLOW = 256
# The database is away, or busy: what was to be written can wait.
GONE = (OperationalError, InterfaceError)


class Courier:
    """`start` it, `wake` it when there may be something to do, `stop` it, `join` it.

    After `stop` nothing new is begun; what is on its way is waited for and written.
    """

    def __init__(self, *, threads: int) -> None:
        self._threads = threads
        self._senders = ThreadPoolExecutor(
            threads + MOST_SLOW, thread_name_prefix="webhook"
        )
        self._clerk = threading.Thread(target=self._run, name="courier", daemon=True)
        self._woken = threading.Event()
        self._stopping = False
        self._lock = threading.Lock()
        self._flying: dict[UUID, tuple[Claimed, float]] = {}
        self._back: list[Sent] = []
        self._alarms: list[float] = []
        self._renew_at = 0.0
        self._turned_at = time.monotonic()

    def start(self) -> None:
        self._clerk.start()

    def wake(self) -> None:
        self._woken.set()

    def stop(self) -> None:
        self._stopping = True
        self._woken.set()

    def join(self, seconds: float) -> None:
        self._clerk.join(seconds)
        self._senders.shutdown(wait=False, cancel_futures=True)

    def is_well(self) -> bool:
        """Whether its thread still goes round."""
        return self._clerk.is_alive() and time.monotonic() - self._turned_at < 10

    def _run(self) -> None:
        while not self._stopping or self._flying:
            try:
                self._turn()
            except GONE as gone:
                # What came back is still in `_back`, and is written when it can be.
                log.warning("courier: %s: %s", type(gone).__name__, gone)
                connection.close()
                self._woken.wait(1.0)
            except Exception:
                log.exception("courier")
                self._woken.wait(1.0)
            self._turned_at = time.monotonic()
        connection.close()

    def _turn(self) -> None:
        self._woken.clear()
        self._write_down()
        now = time.monotonic()
        if self._flying and now >= self._renew_at:
            delivery.renew(list(self._flying))
            self._renew_at = now + RENEW_SECONDS
        if not self._stopping:
            self._send_more()
        now = time.monotonic()
        self._alarms = [at for at in self._alarms if at > now]
        self._woken.wait(min([*self._alarms, now + LOOK_SECONDS]) - now)

    def _send_more(self) -> None:
        since = time.monotonic() - SLOW_SECONDS
        quick = [one for one, begun in self._flying.values() if begun > since]
        slow = len(self._flying) - len(quick)
        # Endpoints in trouble share half of the places: the other half stays free of
        # them, however many there are.
        troubled = sum(one.troubled for one in quick)
        claimed = delivery.claim(
            limit=min(self._threads - len(quick), MOST_SLOW - slow),
            in_trouble=max(1, self._threads // 2) - troubled,
        )
        if not self._flying:
            self._renew_at = time.monotonic() + RENEW_SECONDS
        for one in claimed:
            self._flying[one.lease] = one, time.monotonic()
            self._senders.submit(self._send, one)

    def _send(self, claimed: Claimed) -> None:
        try:
            sent = delivery.send(claimed)
        except Exception:
            log.exception("courier: attempt %s", claimed.lease)
            sent = Sent(claimed, PostResult(error="no_answer"), time.monotonic())
        with self._lock:
            self._back.append(sent)
        self._woken.set()

    def _write_down(self) -> None:
        with self._lock:
            back = list(self._back)
        if not back:
            return
        try:
            waits = delivery.record(back)
        except GONE:
            raise
        except Exception:
            log.exception("courier: %s outcomes are written one by one", len(back))
            waits = [wait for one in back for wait in self._alone(one)]
        now = time.monotonic()
        self._alarms += [now + wait for wait in waits]
        with self._lock:
            del self._back[: len(back)]
        for one in back:
            self._flying.pop(one.claimed.lease, None)

    def _alone(self, one: Sent) -> list[float]:
        """What cannot be written must not keep the others from it: it is tried again
        when its lease has run out.
        """
        try:
            return delivery.record([one])
        except GONE:
            raise
        except Exception:
            log.exception("courier: attempt %s is not written", one.claimed.lease)
            return []
