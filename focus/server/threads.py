"""Threads that run requests, and the limits for requests that wait for slow clients.

A request holds one of a few *slots* while Django works on it. While it waits for its
client it holds its thread and no slot, and at most `MOST_WAITING` requests wait. Slow
clients therefore never hold slots that other requests need.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from queue import SimpleQueue

# Requests of this process that may wait for slow clients: each keeps a thread.
MOST_WAITING = 256
# The same for one address.
MOST_WAITING_PER_ADDRESS = 64
# Requests that may wait for a slot. Further ones get 503.
MOST_QUEUED = 512


class Busy(Exception):
    """Too many requests wait already."""


class Slots:
    """Limits how many requests run at once. Only the event loop's thread may use it."""

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self._queued = 0
        self._waiting: Counter[str] = Counter()

    async def acquire(self) -> None:
        """Wait for a slot. Raises `Busy` if too many requests wait already."""
        if self._queued >= MOST_QUEUED:
            raise Busy
        await self.reacquire()

    async def reacquire(self) -> None:
        """Wait for a slot without a limit, for a request that had one before."""
        self._queued += 1
        try:
            await self._free.acquire()
        finally:
            self._queued -= 1

    def release(self) -> None:
        """Release a slot."""
        self._free.release()

    def begin_waiting(self, address: str) -> None:
        """Count a request that waits for its client. Raises `Busy` above the limits."""
        if self._waiting.total() >= MOST_WAITING:
            raise Busy
        if self._waiting[address] >= MOST_WAITING_PER_ADDRESS:
            raise Busy
        self._waiting[address] += 1

    def end_waiting(self, address: str) -> None:
        """Uncount a request that `begin_waiting` has counted."""
        self._waiting[address] -= 1
        if not self._waiting[address]:
            del self._waiting[address]


class Pool:
    """Daemon threads: one for each task at once; `keep` of them stay while idle.

    `at_end` runs in each thread that ends, to close the thread's connections.
    """

    def __init__(self, keep: int, at_end: Callable[[], None]) -> None:
        self._keep, self._at_end = keep, at_end
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0

    def submit(self, work: Callable[[], None]) -> None:
        """Run `work` in an idle thread, or in a new one."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            else:
                threading.Thread(target=self._run, name="request", daemon=True).start()
        self._work.put(work)

    def _run(self) -> None:
        while True:
            self._work.get()()
            with self._lock:
                if self._idle >= self._keep:
                    break
                self._idle += 1
        self._at_end()
