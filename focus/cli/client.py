"""The HTTP client: requests, their retries, and failures for error responses."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from focus.cli import __version__, exact
from focus.cli.address import is_loopback
from focus.cli.failure import Unreachable
from focus.cli.refusals import not_focus, refusal, why_not_sent, why_unreachable
from focus.cli.token_store.records import Credential
from focus.outgoing import final_answers

CONNECT_SECONDS, READ_SECONDS = 5, 30
RETRIES = 3
_PASSING = {502, 503, 504}
_LONGEST_PAUSE = 10.0


@dataclass(frozen=True)
class Answer:
    """A response: its status, headers, and JSON object, if it has one."""

    status: int
    data: dict[str, Any] | None
    headers: Mapping[str, str]

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def retry_after(self) -> float | None:
        text = self.headers.get("Retry-After", "")
        return float(text) if text.isascii() and text.isdigit() else None


class _Bearer(AuthBase):
    """Sets our header or none. Without an auth object, requests would read ~/.netrc."""

    def __init__(self, token: str | None) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self.token:
            request.headers["Authorization"] = f"Bearer {self.token}"
        return request


class Client:
    """Sends requests to one server, with one credential or none."""

    def __init__(self, server: str, credential: Credential | None = None) -> None:
        self.server = server
        self.credential = credential
        self._http = final_answers.session()
        self._http.auth = _Bearer(credential.token if credential else None)
        self._http.headers["User-Agent"] = f"focus-cli/{__version__}"
        self._http.headers["Accept"] = "application/json"
        # Requests to loopback must not leave this machine through HTTP_PROXY.
        host = str(urlsplit(server).hostname)
        self._proxies = {"no_proxy": host} if is_loopback(server) else None

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a GET, with retries. Returns the JSON object or raises `Failure`."""
        return self.call("GET", path, params=params)

    def post(self, path: str, body: object, *, key: str) -> dict[str, Any]:
        """Send a POST, with retries that its idempotency key makes safe."""
        return self.call("POST", path, body=body, headers={"Idempotency-Key": key})

    def call(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        """Send a request, and retry it after a network failure or a 502 to 504.

        Returns the JSON object. Raises `Failure` for any status but 2xx.
        """
        answer = self._send_until_answered(method, path, **how)
        if not answer.ok:
            raise refusal(answer, self.server, self.credential)
        if answer.status == 204:
            return {}
        if answer.data is None:
            raise not_focus(self.server)
        return answer.data

    def _send_until_answered(self, method: str, path: str, **how: Any) -> Answer:
        for attempt in range(RETRIES + 1):
            pause = 0.5 * 2**attempt
            last = attempt == RETRIES
            try:
                answer = self.send(method, path, **how)
            except Unreachable as failure:
                if last or not failure.may_pass:
                    raise
            else:
                if last or not _may_pass(answer):
                    return answer
                pause = max(pause, answer.retry_after or 0)
            time.sleep(min(pause, _LONGEST_PAUSE))
        raise AssertionError("the last attempt returns or raises")

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = READ_SECONDS,
    ) -> Answer:
        """Send one request and return its response of any status.

        Raises `Unreachable` without a response.
        """
        headers = dict(headers or {})
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            response = self._http.request(
                method,
                self.server + path,
                params=params,
                data=None if body is None else exact.dumps(body).encode(),
                headers=headers,
                timeout=(min(CONNECT_SECONDS, seconds), seconds),
                allow_redirects=False,
                proxies=self._proxies,
            )
        except requests.RequestException as error:
            # Not chained: the error's text has the URL, which may hold a device code.
            raise why_unreachable(self.server, error) from None
        except OSError as error:
            # requests raises OSError, before it sends, for a missing CA bundle.
            raise why_not_sent(error) from None
        return Answer(response.status_code, _object(response), response.headers)


def _may_pass(answer: Answer) -> bool:
    # 409 with Retry-After: the server still processes our first attempt.
    in_flight = answer.status == 409 and answer.retry_after is not None
    return answer.status in _PASSING or in_flight


def _object(response: requests.Response) -> dict[str, Any] | None:
    try:
        data = exact.loads(response.content)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None
