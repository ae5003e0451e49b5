"""HTTP requests to the services of our settings: Clerk, Google, X and Steam.

Callers pass only URLs from settings, never from a request. Requests follow no redirects
and are never retried. A response that is too long or too slow raises `ServiceDown`.
Never send one inside a transaction: a slow service would keep its locks.
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
# How long the circuit breaker sends nothing after a failure.
REST_SECONDS = 5.0


class ServiceDown(DomainError):
    """The service did not answer, or its answer is unusable."""

    code = "service_unavailable"
    retry_after_seconds = 5


@dataclass(frozen=True, slots=True)
class Reply:
    """A response: any status below 500, and the whole body."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object. Raises `ServiceDown` for anything else."""
        try:
            return msgspec.json.decode(self.body, type=dict[str, Any])
        except (msgspec.DecodeError, msgspec.ValidationError) as broken:
            raise ServiceDown("The service sent an unreadable answer.") from broken


def get(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    max_bytes: int = MAX_BYTES,
) -> Reply:
    """Send a GET request to `url` and return the response. Raises `ServiceDown`."""
    return _send_request("GET", url, headers, None, max_bytes)


def post(
    url: str, form: Mapping[str, str], *, headers: Mapping[str, str] | None = None
) -> Reply:
    """POST `form` to `url`, urlencoded, and return the response.

    Raises `ServiceDown`.
    """
    return _send_request("POST", url, headers, form)


class Breaker:
    """A circuit breaker for one service.

    After a failure, `get` raises `ServiceDown` at once for `REST_SECONDS`. Then one
    caller at a time sends a request, until one succeeds.
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
        """Send a GET request.

        Raises `ServiceDown` at once while the breaker is open.
        """
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
        """Allow all requests again."""
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
            # Ignore this machine's proxy variables and .netrc.
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
        # The exception's text may contain the URL, and the URL an authorization code.
        raise ServiceDown(f"No answer: {type(failed).__name__}.") from None


def _reply(response: requests.Response, max_bytes: int) -> Reply:
    if response.status_code >= 500:
        raise ServiceDown(f"The service answered {response.status_code}.")
    # The socket timeout is per read, so a server that drips bytes never reaches it.
    limit = time.monotonic() + MAX_SECONDS
    body = b""
    for chunk in response.iter_content(16 * 1024):
        body += chunk
        if len(body) > max_bytes or time.monotonic() > limit:
            raise ServiceDown("The service's answer was too long or too slow.")
    return Reply(response.status_code, body)
