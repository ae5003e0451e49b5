"""One request: from uvicorn, through a thread that runs Django, and back.

1. Check the head: a head that is too long gets 414 or 431, and no thread.
2. Wait for a slot and run Django in a thread. The body is read when a view asks for it
   (`focus.server.body`).
3. Send the response at once, even while the client still sends its body. Read and
   discard the rest of the body, up to a limit; then close the connection.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connections

from focus.contracts import Problem
from focus.limiting import addresses
from focus.server import environ, refusals
from focus.server.body import BRIEF_SECONDS, Body, Message
from focus.server.threads import Busy, Pool, Slots
from focus.wsgi import application

# How many bytes of a streamed response a thread hands over at a time.
PIECE_BYTES = 64 * 1024

Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Iterable[tuple[str, str]]

log = logging.getLogger(__name__)
access = logging.getLogger("focus.access")


class Bridge:
    """The ASGI application that uvicorn runs. One for each process."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self.pool = Pool(keep=threads, at_end=connections.close_all)
        self._slots: Slots | None = None

    @property
    def slots(self) -> Slots:
        # Created here, because a semaphore belongs to the running event loop.
        if self._slots is None:
            self._slots = Slots(self._threads)
        return self._slots

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        exchange = Exchange(self, scope, receive, send)
        await exchange.run()
        if settings.WEB_ACCESS_LOG:
            # Without the query, which may hold tokens; encoded, so on one line.
            access.info(
                "%s %s %s %.0f ms",
                scope["method"],
                scope["raw_path"].decode("latin-1"),
                exchange.status,
                (time.monotonic() - began) * 1000,
            )


class Departed(Exception):
    """The client closed the connection before the end of the response."""


@dataclass
class AppResponse:
    """Django's response. `rest` is not sent yet: all of it, unless it is streamed."""

    status: int
    headers: Headers
    rest: bytes
    begun: bool = False


class Exchange:
    """One request and its response. Methods without `async` run in a WSGI thread."""

    def __init__(
        self, bridge: Bridge, scope: Any, receive: Receive, send: Send
    ) -> None:
        self._bridge, self._scope = bridge, scope
        self._receive, self._send = receive, send
        self._departure: asyncio.Task[None] | None = None
        self._streams = False
        self._loop = asyncio.get_running_loop()
        headers = dict(scope["headers"])
        self._expects = b"expect" in headers
        self._request_id = headers.get(b"x-request-id", b"").decode("latin-1")
        self._environ = environ.from_scope(scope)
        client = addresses.client(self._environ)
        self._address = addresses.neighbourhood(client)
        self._body = self._environ["wsgi.input"] = Body(
            receive=receive,
            length=_length(headers),
            address=self._address,
            slots=bridge.slots,
            before_waiting=_close_idle_connections,
        )
        self.status = 0

    async def run(self) -> None:
        """Answer the request, and read or discard its body."""
        try:
            answer = await self._answer()
            await self._finish(answer)
        finally:
            self._body.abandon()
            if self._departure is not None:
                self._departure.cancel()
            if self._streams:
                self._bridge.slots.end_waiting(self._address)

    async def _answer(self) -> AppResponse:
        problem = self._scope.get("focus.problem")
        problem = problem or refusals.problem_of_head(self._scope)
        if problem is not None:
            return self._refusal(problem)
        # A client that sent Expect gets 100 Continue when a view reads the body.
        if not self._expects:
            await self._body.prefetch()
        slots = self._bridge.slots
        try:
            await slots.acquire()
        except Busy:
            return self._refusal(refusals.BUSY)
        try:
            answer = await self._in_thread(self._run_django)
        except Departed:
            return AppResponse(self.status, (), b"", begun=True)
        except Busy:
            return self._refusal(refusals.BUSY)
        except Exception:
            log.exception("The application failed.")
            return self._refusal(refusals.SERVER_ERROR)
        finally:
            slots.release()
        problem = refusals.problem_of_body(self._body.refusal)
        if problem is None or answer.begun or answer.status in (problem.status, 200):
            return answer
        # Django would report an unread body as a missing CSRF token, or as a 500.
        return self._refusal(problem)

    def _refusal(self, problem: Problem) -> AppResponse:
        response = refusals.answer(problem, self._scope["path"], self._request_id)
        return AppResponse(response.status_code, response.items(), response.content)

    # --- sending ----------------------------------------------------------------

    async def _finish(self, answer: AppResponse) -> None:
        """Send the rest of the response, and read the rest of the request."""
        body = self._body
        if not answer.begun:
            unread = not body.has_arrived
            hang_up = unread and (self._expects or body.refusal is not None)
            await self._begin(answer, hang_up=hang_up)
            if unread and not hang_up:
                await self._piece(answer.rest, more=True)
                answer.rest = b""
                await body.drain()
        await self._piece(answer.rest, more=False)

    async def _begin(self, answer: AppResponse, *, hang_up: bool = False) -> None:
        self.status = answer.status
        answer.begun = True
        headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in answer.headers
        ]
        if hang_up:
            headers.append((b"connection", b"close"))
        start = {"type": "http.response.start", "status": answer.status}
        await self._send({**start, "headers": headers})

    async def _piece(self, data: bytes, *, more: bool) -> None:
        message = {"type": "http.response.body", "body": data, "more_body": more}
        await self._send(message)

    async def _stream(self, answer: AppResponse, data: bytes) -> None:
        """Send one piece, and hold no slot while the client reads it.

        Raises `Departed` if the client is gone, so that the rest is not read for it.
        Raises `Busy` if too many requests wait already, and only for the first piece: a
        response that has begun is not cut off for later ones.
        """
        slots = self._bridge.slots
        if not self._streams:
            slots.begin_waiting(self._address)
            self._streams = True
        if self._departure is None and self._body.has_arrived:
            self._departure = asyncio.ensure_future(self._wait_for_departure())
        slots.release()
        try:
            if not answer.begun:
                await self._begin(answer)
            await self._piece(data, more=True)
        finally:
            await slots.reacquire()
        if self._departure is not None and self._departure.done():
            raise Departed

    async def _wait_for_departure(self) -> None:
        # uvicorn drops what is sent to a closed connection, and says nothing.
        while (await self._receive())["type"] != "http.disconnect":
            pass

    # --- in a thread ------------------------------------------------------------

    async def _in_thread(self, work: Callable[[], AppResponse]) -> AppResponse:
        done: asyncio.Future[AppResponse] = self._loop.create_future()

        def resolve(answer: AppResponse | None, broken: Exception | None) -> None:
            if done.done():
                return
            if answer is not None:
                done.set_result(answer)
            else:
                done.set_exception(broken or RuntimeError("no answer"))

        def run() -> None:
            answer, broken = None, None
            try:
                answer = work()
            except Exception as exception:
                broken = exception
            except BaseException as exception:  # such as SystemExit in a view
                broken = RuntimeError(repr(exception))
            self._loop.call_soon_threadsafe(resolve, answer, broken)

        self._bridge.pool.submit(run)
        return await done

    def _run_django(self) -> AppResponse:
        begun: list[Any] = []

        def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
            begun[:] = [int(status.split(" ", 1)[0]), headers]

        chunks = application(self._environ, start_response)
        try:
            pieces = _pieces(chunks)
            first = next(pieces, b"")
            answer = AppResponse(begun[0], begun[1], first)
            for piece in pieces:
                self._push(answer, answer.rest)
                answer.rest = piece
            return answer
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    def _push(self, answer: AppResponse, data: bytes) -> None:
        sending = self._stream(answer, data)
        sent = asyncio.run_coroutine_threadsafe(sending, self._loop)
        try:
            return sent.result(BRIEF_SECONDS)
        except TimeoutError:
            if sent.done():
                raise
        _close_idle_connections()
        sent.result()


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Join small chunks to pieces of PIECE_BYTES, to hand over fewer of them."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        if len(held) >= PIECE_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


def _length(headers: dict[bytes, bytes]) -> int | None:
    """Return the body's length, or None for a chunked body."""
    if b"transfer-encoding" in headers:
        return None
    return int(headers.get(b"content-length", b"0"))


def _close_idle_connections() -> None:
    """Close database connections while a request waits for its client."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
