"""A connection: uvicorn's class, with limits.

uvicorn hands complete heads and arriving bodies to the bridge. This subclass adds what
uvicorn leaves to a proxy:

* a cap on the connections of one address.
* a deadline and a size limit for heads.
* refusals as JSON.
* a timeout for clients that do not read.
"""

# ruff: noqa: I001 - in a new process this module comes first, and Django with it
import asyncio
import resource
import socket
from collections import Counter
from typing import Any, ClassVar
from urllib.parse import unquote

import focus.wsgi  # noqa: F401 — first of ours
from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from focus.limiting import addresses
from focus.server import refusals

# From the connection, or the previous response, to the end of the next head.
HEAD_SECONDS = 10.0
# How long a client may leave its response unread.
UNREAD_SECONDS = 60.0
# How long a refused client may still send, so that it does not lose its response.
LINGER_SECONDS = 5.0
LINGER_BYTES = 1024 * 1024
_HEAD_BYTES = refusals.MOST_TARGET_BYTES + refusals.MOST_HEADER_BYTES + 8 * 1024
# File descriptors that stay free for everything but connections.
_SPARE_DESCRIPTORS = 200


class Connection(HttpToolsProtocol):
    """One client connection. All connections of a process share the counter `_open`."""

    _open: ClassVar[Counter[str]] = Counter()

    def connection_made(self, transport: Any) -> None:
        """Count the connection for its address, and abort it far above the cap."""
        super().connection_made(transport)
        _send_at_once(transport)
        self._address = _capped(self.client)
        self._over = False
        self._in_line, self._in_head, self._head_bytes = True, True, 0
        self._timer: asyncio.TimerHandle | None = None
        self._lingering, self._lingered = False, 0
        if self._address:
            self._open[self._address] += 1
            count = self._open[self._address]
            self._over = count > settings.WEB_CONNECTIONS_PER_ADDRESS
            if count > 2 * settings.WEB_CONNECTIONS_PER_ADDRESS:
                transport.abort()
                return
        if len(self.connections) > _most_connections():
            transport.abort()
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        if self._address:
            self._open[self._address] -= 1
            if not self._open[self._address]:
                del self._open[self._address]
        super().connection_lost(exc)

    # --- heads ------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Enforce the head's size, and encode a request line that is not ASCII."""
        if self._lingering:
            self._lingered += len(data)
            if self._lingered > LINGER_BYTES:
                self.transport.abort()
            return
        if self._in_head:
            self._head_bytes += len(data)
        if self._in_line:
            line, end, rest = data.partition(b"\n")
            self._in_line = not end
            if not line.isascii():
                # Browsers percent-encode other characters than ASCII; some clients not.
                data = _encoded(line) + end + rest
        super().data_received(data)
        if self._in_head and self._head_bytes > _HEAD_BYTES:
            self._refuse(refusals.HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._expect_head()

    def on_headers_complete(self) -> None:
        """Stop the head's timer, and mark a request above the cap as refused."""
        self._in_head = False
        self._stop_timer()
        if self.url.startswith(b"//"):
            # Otherwise the URL parser takes the first part of the path for a host.
            self.url = b"http://localhost" + self.url
        if self._over:
            scope: Any = self.scope
            scope["focus.problem"] = refusals.TOO_MANY_CONNECTIONS
        super().on_headers_complete()
        # After an upgrade that is not granted, the parser reads no further request.
        if self._over or self.parser.should_upgrade():
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_line = True

    def send_400_response(self, msg: str) -> None:
        """Refuse a head or a chunk that uvicorn cannot parse. uvicorn calls this."""
        self._refuse(refusals.MALFORMED)

    def _refuse(self, problem: Any) -> None:
        """Respond without the application, and close after the client has read it."""
        if self._lingering:
            return
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy and self.cycle.response_started:
            # The client would read a second response as part of the first.
            self.transport.close()
            return
        url = getattr(self, "url", b"") or b"/"
        if len(url) > refusals.MOST_TARGET_BYTES:
            problem = refusals.URI_TOO_LONG
        path = unquote(url.partition(b"?")[0].decode("latin-1"))
        response = refusals.answer(problem, path)
        status = f"HTTP/1.1 {response.status_code} {response.reason_phrase}\r\n"
        headers = "".join(f"{name}: {value}\r\n" for name, value in response.items())
        head = f"{status}{headers}Connection: close\r\n\r\n".encode("latin-1")
        self.transport.write(head + response.content)
        if busy:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._linger()

    def _linger(self) -> None:
        """Close our side and read on for a while: see `Body.drain`."""
        self._lingering = True
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._start_timer(LINGER_SECONDS, self.transport.abort)

    def eof_received(self) -> None:
        if self._lingering:
            self.transport.close()

    # --- the end of an answer ---------------------------------------------------

    def on_response_complete(self) -> None:
        """Close the connection if the request's body was not read to its end."""
        super().on_response_complete()
        if self.cycle.more_body and self.cycle.response_complete:
            # The bridge has reached its limit for the rest of the body.
            self._close()

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def shutdown(self) -> None:
        super().shutdown()
        if self._in_head:
            self._close()

    def pause_writing(self) -> None:
        """Abort the connection if the client does not read for UNREAD_SECONDS."""
        super().pause_writing()
        self._start_timer(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_timer()

    # --- timers -----------------------------------------------------------------

    def _close(self) -> None:
        """Close after everything is sent, or abort after LINGER_SECONDS."""
        if not self.transport.is_closing():
            self.transport.close()
        self._start_timer(LINGER_SECONDS, self.transport.abort)

    def _expect_head(self) -> None:
        self._start_timer(HEAD_SECONDS, self._close)

    def _start_timer(self, seconds: float, then: Any) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, then)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _capped(client: tuple[str, int] | None) -> str:
    """Return the address that this connection counts for; empty for a trusted proxy."""
    meta = {"REMOTE_ADDR": client[0] if client else ""}
    if addresses.is_trusted_proxy(meta):
        return ""
    return addresses.neighbourhood(addresses.client(meta))


def _send_at_once(transport: Any) -> None:
    """Set TCP_NODELAY, which asyncio omits on sockets that several processes share.

    Without TCP_NODELAY a body waits 40 ms until the client acknowledges the head.
    """
    link = transport.get_extra_info("socket")
    if link is not None and link.family in (socket.AF_INET, socket.AF_INET6):
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _most_connections() -> int:
    return max(100, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_DESCRIPTORS)


def _encoded(line: bytes) -> bytes:
    return b"".join(b"%%%02X" % byte if byte > 127 else bytes((byte,)) for byte in line)
