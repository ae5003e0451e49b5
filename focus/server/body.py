"""`wsgi.input`: a request body while it arrives, within its deadlines.

Django reads the body when a view asks for it. A request that is refused for its
address, credential or rate is therefore refused before its body is read.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from focus.bodies.unread import TooBusy, TooSlow, Unread
from focus.server.threads import Busy, Slots

# The longest time between two pieces.
IDLE_SECONDS = 10.0
# The deadline of a body: this, plus its length at the slowest rate.
BASE_SECONDS = 30.0
SLOWEST_BYTES_PER_SECOND = 4 * 1024
MOST_SECONDS = 4 * 3600.0
# After an early response, the limits of reading the rest of the body.
DRAIN_BYTES = 64 * 1024 * 1024
DRAIN_SECONDS = 10.0
DRAIN_IDLE_SECONDS = 5.0
# How long the event loop waits for a body before it takes a thread.
PROMPT_SECONDS = 0.02
# A request that waits longer than this closes its database connections meanwhile.
BRIEF_SECONDS = 0.05

Message = dict[str, Any]


class Body:
    """A file-like body. `read` runs in a WSGI thread, everything else in the loop."""

    def __init__(
        self,
        *,
        receive: Callable[[], Awaitable[Message]],
        length: int | None,
        address: str,
        slots: Slots,
        before_waiting: Callable[[], None],
    ) -> None:
        """`length` is None for a chunked body, and 0 for a request without a body."""
        self._receive, self._slots, self._address = receive, slots, address
        self._before_waiting = before_waiting
        self._loop = asyncio.get_running_loop()
        allowed = BASE_SECONDS + (length or 0) / SLOWEST_BYTES_PER_SECOND
        self._deadline = self._loop.time() + min(allowed, MOST_SECONDS)
        self._buffer = bytearray()
        self._arrived = length == 0
        self._given: asyncio.Task[None] | None = None
        self.refusal: Unread | None = None

    # --- in a WSGI thread -------------------------------------------------------

    def read(self, size: int | None = -1) -> bytes:
        """Return `size` bytes, or the rest of the body.

        Waits for the client. Raises `Unread`, an OSError, if the client disconnects or
        is too slow.
        """
        wanted = -1 if size is None else size
        while not self._arrived and (wanted < 0 or len(self._buffer) < wanted):
            self._wait()
        if wanted < 0:
            wanted = len(self._buffer)
        taken = bytes(self._buffer[:wanted])
        del self._buffer[:wanted]
        return taken

    def readline(self, size: int | None = -1) -> bytes:
        while not self._arrived and b"\n" not in self._buffer:
            self._wait()
        end = self._buffer.find(b"\n") + 1 or len(self._buffer)
        if size is not None and size >= 0:
            end = min(end, size)
        return self.read(end)

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line

    def _wait(self) -> None:
        if self.refusal is not None:
            raise self.refusal
        more = asyncio.run_coroutine_threadsafe(self._arrive(), self._loop)
        try:
            return more.result(BRIEF_SECONDS)
        except TimeoutError:
            if more.done():
                raise
        self._before_waiting()
        more.result()

    # --- in the event loop ------------------------------------------------------

    async def prefetch(self) -> None:
        """Wait up to PROMPT_SECONDS for the first piece, before a thread is needed."""
        if not self._arrived:
            self._given = asyncio.ensure_future(self._take())
            await asyncio.wait((self._given,), timeout=PROMPT_SECONDS)

    async def _arrive(self) -> None:
        """Receive the next piece, and hold no slot meanwhile."""
        try:
            self._slots.begin_waiting(self._address)
        except Busy:
            self.refusal = TooBusy("Too many requests are slow just now.")
            raise self.refusal from None
        self._slots.release()
        try:
            await self._within_deadlines()
        finally:
            self._slots.end_waiting(self._address)
            await self._slots.reacquire()

    async def _within_deadlines(self) -> None:
        left = self._deadline - self._loop.time()
        piece = self._given or asyncio.ensure_future(self._take())
        self._given = None
        try:
            await asyncio.wait_for(piece, max(0.0, min(left, IDLE_SECONDS)))
        except TimeoutError:
            self.refusal = TooSlow("The request body arrived too slowly.")
            raise self.refusal from None
        except Unread as gone:
            self.refusal = gone
            raise

    async def _take(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Unread("The request body ended too soon.")
        self._buffer += message["body"]
        self._arrived = not message["more_body"]

    @property
    def has_arrived(self) -> bool:
        return self._arrived

    async def drain(self) -> None:
        """Read and discard the rest, so that a client that still sends gets a response.

        Closing a socket with unread bytes resets the connection, and the client loses
        the response.
        """
        end = self._loop.time() + DRAIN_SECONDS
        read = 0
        while not self._arrived and read < DRAIN_BYTES:
            left = end - self._loop.time()
            piece = self._given or asyncio.ensure_future(self._take())
            self._given = None
            try:
                await asyncio.wait_for(piece, max(0.0, min(left, DRAIN_IDLE_SECONDS)))
            except (TimeoutError, Unread):
                return
            read += len(self._buffer)
            self._buffer.clear()

    def abandon(self) -> None:
        """Cancel the pending read, if there is one."""
        if self._given is not None:
            self._given.add_done_callback(_forget)
            self._given.cancel()
            self._given = None


def _forget(piece: asyncio.Task[None]) -> None:
    if not piece.cancelled():
        piece.exception()
