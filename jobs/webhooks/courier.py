"""The courier of a worker process: claims due deliveries, sends them, writes outcomes.

One thread uses the database and makes no request. The sender threads make the requests
and hold no database connection. The courier looks for due deliveries every second by
itself, so a wake-up saves at most that second.
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
# A slower request stops counting against the threads. It keeps a sender thread, so that
# hanging endpoints do not delay others; at most MOST_SLOW such requests run at once.
SLOW_SECONDS = 1.0
MOST_SLOW = 256
# The database is unreachable or busy. Unwritten outcomes wait for the next turn.
DATABASE_ERRORS = (OperationalError, InterfaceError)


class Courier:
    """A courier with `threads` quick requests at once. Call `start`, then `wake`.

    After `stop` the courier claims nothing new. Its thread ends once every running
    request has ended and its outcome is written; `join` waits for that.
    """

    def __init__(self, *, threads: int) -> None:
        self._threads = threads
        self._senders = ThreadPoolExecutor(
            threads + MOST_SLOW, thread_name_prefix="webhook"
        )
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self._woken = threading.Event()
        self._stopping = False
        self._lock = threading.Lock()
        self._in_flight: dict[UUID, tuple[Claimed, float]] = {}
        self._outcomes: list[Sent] = []
        self._retries_at: list[float] = []
        self._renew_at = 0.0
        self._last_turn_at = time.monotonic()

    def start(self) -> None:
        """Start the thread that claims and writes. Call once."""
        self._thread.start()

    def wake(self) -> None:
        """Make the courier look for due deliveries now. Never blocks."""
        self._woken.set()

    def stop(self) -> None:
        """Claim nothing new. Returns at once; `join` waits for the running requests."""
        self._stopping = True
        self._woken.set()

    def join(self, seconds: float) -> None:
        """Wait at most `seconds` for the thread; drop the requests not yet sent."""
        self._thread.join(seconds)
        self._senders.shutdown(wait=False, cancel_futures=True)

    def is_running(self) -> bool:
        """Whether the thread lives and finished a turn within the last 10 seconds."""
        return self._thread.is_alive() and time.monotonic() - self._last_turn_at < 10

    def _run(self) -> None:
        while not self._stopping or self._in_flight:
            try:
                self._run_once()
            except DATABASE_ERRORS as error:
                # The outcomes stay in `_outcomes` for the next turn.
                log.warning("courier: %s: %s", type(error).__name__, error)
                connection.close()
                self._woken.wait(1.0)
            except Exception:
                log.exception("courier")
                self._woken.wait(1.0)
            self._last_turn_at = time.monotonic()
        connection.close()

    def _run_once(self) -> None:
        self._woken.clear()
        self._write_outcomes()
        now = time.monotonic()
        if self._in_flight and now >= self._renew_at:
            delivery.renew(list(self._in_flight))
            self._renew_at = now + RENEW_SECONDS
        if not self._stopping:
            self._send_more()
        now = time.monotonic()
        self._retries_at = [at for at in self._retries_at if at > now]
        self._woken.wait(min([*self._retries_at, now + LOOK_SECONDS]) - now)

    def _send_more(self) -> None:
        since = time.monotonic() - SLOW_SECONDS
        quick = [one for one, begun in self._in_flight.values() if begun > since]
        slow = len(self._in_flight) - len(quick)
        # Troubled endpoints share half of the threads, however many there are. The
        # other half stays free for healthy ones.
        troubled = sum(one.troubled for one in quick)
        claimed = delivery.claim(
            limit=min(self._threads - len(quick), MOST_SLOW - slow),
            in_trouble=max(1, self._threads // 2) - troubled,
        )
        if not self._in_flight:
            self._renew_at = time.monotonic() + RENEW_SECONDS
        for one in claimed:
            self._in_flight[one.lease] = one, time.monotonic()
            self._senders.submit(self._send, one)

    def _send(self, claimed: Claimed) -> None:
        try:
            sent = delivery.send(claimed)
        except Exception:
            log.exception("courier: attempt %s", claimed.lease)
            sent = Sent(claimed, PostResult(error="no_answer"), time.monotonic())
        with self._lock:
            self._outcomes.append(sent)
        self._woken.set()

    def _write_outcomes(self) -> None:
        with self._lock:
            outcomes = list(self._outcomes)
        if not outcomes:
            return
        try:
            waits = delivery.record(outcomes)
        except DATABASE_ERRORS:
            raise
        except Exception:
            log.exception("courier: %s outcomes are written one by one", len(outcomes))
            waits = [wait for one in outcomes for wait in self._write_one(one)]
        now = time.monotonic()
        self._retries_at += [now + wait for wait in waits]
        with self._lock:
            del self._outcomes[: len(outcomes)]
        for one in outcomes:
            self._in_flight.pop(one.claimed.lease, None)

    def _write_one(self, one: Sent) -> list[float]:
        """Write one outcome by itself; returns as `delivery.record`.

        An outcome that cannot be written must not block the others. Its delivery is
        tried again once the lease has expired.
        """
        try:
            return delivery.record([one])
        except DATABASE_ERRORS:
            raise
        except Exception:
            log.exception("courier: attempt %s is not written", one.claimed.lease)
            return []
