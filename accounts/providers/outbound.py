"""Our requests to the few services that we ask: Clerk, Google, X and Steam.

Addresses are settings, never a caller's. Nothing is followed, nothing is retried, and
an answer that is too long or too slow is no answer. Never call it while a transaction
is open: their silence must not hold a lock.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import requests

from focus.errors import DomainError
from focus.outgoing import final_answers

TIMEOUT = (3, 5)
MAX_SECONDS = 8
MAX_BYTES = 256 * 1024
# How long a service that was down is not asked again.
REST_SECONDS = 5.0


class ServiceDown(DomainError):
    """They did not answer, or not in a way that means anything."""

    code = "service_unavailable"
    retry_after_seconds = 5


@dataclass(frozen=True, slots=True)
class Reply:
    """What they said: any status but a 5xx, and the whole body."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises `ServiceDown` for anything else."""
        try:
            return msgspec.json.decode(self.body, type=dict[str, Any])
        except (msgspec.DecodeError, msgspec.ValidationError) as broken:
            raise ServiceDown("The service gave an answer we cannot read.") from broken


def get(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    max_bytes: int = MAX_BYTES,
) -> Reply:
    """GET `url`. Raises `ServiceDown`."""
    return _send_request("GET", url, headers, None, max_bytes)


def post(
    url: str, form: Mapping[str, str], *, headers: Mapping[str, str] | None = None
) -> Reply:
    """POST `form` to `url`, urlencoded. Raises `ServiceDown`."""
    return _send_request("POST", url, headers, form)


class Breaker:
    """One service, asked on behalf of callers who wait.

    While it is down a caller is told at once: for `REST_SECONDS` after a failure nobody
    asks, and then one caller at a time tries whether it is back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._down = False
        self._closed_until = 0.0

    def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> Reply:
        """As `get` does, or `ServiceDown` without asking."""
        with self._lock:
            now = time.monotonic()
            if now < self._closed_until:
                raise ServiceDown("The service was down a moment ago.")
            if self._down:
                self._closed_until = now + MAX_SECONDS + sum(TIMEOUT)
        try:
            reply = get(url, headers=headers, max_bytes=max_bytes)
        except ServiceDown:
            with self._lock:
                self._down = True
                self._closed_until = time.monotonic() + REST_SECONDS
            raise
        self.close()
        return reply

    def close(self) -> None:
        """Let everybody ask again."""
        with self._lock:
            self._down, self._closed_until = False, 0.0


def _send_request(
    method: str,
    url: str,
    headers: Mapping[str, str] | None,
    form: Mapping[str, str] | None,
    max_bytes: int = MAX_BYTES,
) -> Reply:
    try:
        with final_answers.session() as session:
            # Neither a proxy nor a .netrc of this machine has a say.
            session.trust_env = False
            with session.request(
                method,
                url,
                headers=headers,
                data=form,
                timeout=TIMEOUT,
                allow_redirects=False,
                stream=True,
            ) as response:
                return _reply(response, max_bytes)
    except requests.RequestException as failed:
        # Its text may hold the address, and the address a code.
        raise ServiceDown(f"No answer: {type(failed).__name__}.") from None


def _reply(response: requests.Response, max_bytes: int) -> Reply:
    if response.status_code >= 500:
        raise ServiceDown(f"The service answered {response.status_code}.")
    # The timeout is per read: a drip would never reach it.
    limit = time.monotonic() + MAX_SECONDS
    body = b""
    for chunk in response.iter_content(16 * 1024):
        body += chunk
        if len(body) > max_bytes or time.monotonic() > limit:
            raise ServiceDown("The service's answer was too long or too slow.")
    return Reply(response.status_code, body)
