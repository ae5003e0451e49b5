"""POST to a URL that a stranger chose, without reaching our own network (SSRF).

The client connects only to public addresses. It checks the very address of the
connection, so a DNS answer that changes after the check (rebinding) has no effect. It
follows no redirects and ignores proxies and `.netrc`. One deadline covers DNS, the
handshake and a response that drips.
"""

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from typing import Any
from urllib.parse import SplitResult

from urllib3.exceptions import HTTPError
from urllib3.response import HTTPResponse

from focus.outgoing.final_answers import FinalHTTPConnection, FinalHTTPSConnection
from focus.outgoing.public_addresses import (
    BadAddress,
    parse_url,
    port_of,
    require_public,
    resolve,
)

SECONDS = 30.0
# How much of a response's body is read, and for how long after its status.
ANSWER_BYTES = 8 * 1024
ANSWER_SECONDS = 2.0


@dataclass(frozen=True)
class PostResult:
    """The result of one POST: a `status`, or an `error` in one word.

    A retry does not help after `blocked_address`.
    """

    status: int | None = None
    error: str = ""
    ip: str | None = None
    duration_ms: int = 0
    headers: Mapping[str, str] | None = None
    body: bytes = b""


def post(url: str, body: bytes, headers: Mapping[str, str]) -> PostResult:
    """POST `body` once and wait at most `SECONDS` for the response. Never raises."""
    begun = time.monotonic()
    deadline = _Deadline(SECONDS)
    link: Any = None
    try:
        parts = parse_url(url)
        link = _connection(parts, deadline)
        link.request(
            "POST",
            _target(parts),
            body=body,
            headers={**headers},
            preload_content=False,
            decode_content=False,
            enforce_content_length=False,
        )
        wire = link.sock
        answer = link.getresponse()
        # When the deadline cuts the connection inside the headers, `http.client` still
        # returns a response. That is a timeout.
        if not deadline.passed:
            beginning = _some_of(answer, wire, deadline)
            return PostResult(
                answer.status,
                ip=deadline.ip,
                duration_ms=_ms(begun),
                headers={name.lower(): value for name, value in answer.headers.items()},
                body=beginning,
            )
        error = "timeout"
    except Exception as failed:
        error = "timeout" if deadline.passed else _reason(failed)
    finally:
        deadline.end()
        if link is not None:
            with contextlib.suppress(OSError):
                link.close()
    return PostResult(error=error, ip=deadline.ip, duration_ms=_ms(begun))


class _Deadline:
    """Closes the connection after `seconds`, at any stage of the request.

    A socket timeout covers one read, so a peer that drips bytes would never reach it.
    """

    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds
        self.passed = False
        self.ip: str | None = None
        self._wire: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def seconds_left(self) -> float:
        return max(0.001, self.at - time.monotonic())

    def watch(self, wire: socket.socket) -> None:
        # TLS takes over the socket's descriptor. A duplicate can still shut it down.
        self._wire = socket.socket(fileno=os.dup(wire.fileno()))

    def _cut(self) -> None:
        self.passed = True
        with self._lock, contextlib.suppress(OSError):
            if self._wire is not None:
                self._wire.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        self._timer.cancel()
        with self._lock:
            if self._wire is not None:
                self._wire.close()
                self._wire = None


class _Checked:
    """Resolves and checks the address before connecting.

    Put it left of urllib3's class.
    """

    deadline: _Deadline
    scheme: str

    def _new_conn(self: Any) -> socket.socket:
        found = resolve(self.host.strip("[]"), self.port, self.deadline.seconds_left())
        for address in found:
            # One private address refuses the whole name: it is a rebinding attack.
            require_public(self.scheme, address[4][0])
        failure: OSError = OSError("no address")
        for family, kind, protocol, _, address in found:
            wire = socket.socket(family, kind, protocol)
            try:
                wire.settimeout(self.deadline.seconds_left())
                wire.connect(address)
                wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.deadline.watch(wire)
                self.deadline.ip = address[0]
                return wire
            except OSError as refused:
                wire.close()
                failure = refused
        raise failure


class _Plain(_Checked, FinalHTTPConnection):
    pass


class _Secure(_Checked, FinalHTTPSConnection):
    pass


def _connection(parts: SplitResult, deadline: _Deadline) -> Any:
    host, port = (parts.hostname or "").lower(), port_of(parts)
    link: Any
    if parts.scheme == "https":
        link = _Secure(host, port, timeout=deadline.seconds_left(), ssl_context=_tls())
    else:
        link = _Plain(host, port, timeout=deadline.seconds_left())
    link.deadline, link.scheme = deadline, parts.scheme
    return link


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _some_of(answer: HTTPResponse, wire: socket.socket, deadline: _Deadline) -> bytes:
    """Return the beginning of the body, if it arrives soon. Errors end it early."""
    until = time.monotonic() + min(ANSWER_SECONDS, deadline.seconds_left())
    body = b""
    try:
        while len(body) < ANSWER_BYTES and (left := until - time.monotonic()) > 0:
            wire.settimeout(left)
            part = answer.read1(ANSWER_BYTES - len(body))
            if not part:
                break
            body += part
    except (OSError, HTTPError, HTTPException, ValueError):
        pass
    return body[:ANSWER_BYTES]


def _reason(failed: Exception) -> str:
    """Return why there was no response, in one word for the endpoint's owner."""
    causes: list[BaseException] = [failed]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    for kind, word in _WORDS:
        if any(isinstance(cause, kind) for cause in causes):
            return word
    return "no_answer"


_WORDS: list[tuple[type[BaseException], str]] = [
    (BadAddress, "blocked_address"),
    (socket.gaierror, "dns"),
    (ssl.SSLError, "tls"),
    (TimeoutError, "timeout"),
    (ConnectionRefusedError, "refused"),
    (ConnectionError, "reset"),
    (OSError, "unreachable"),
    (HTTPException, "bad_http"),
    (HTTPError, "bad_http"),
]


def _ms(begun: float) -> int:
    return int((time.monotonic() - begun) * 1000)
