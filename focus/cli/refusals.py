"""Failures for error responses and network errors: the cause, and the next step."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

import requests
from requests.utils import get_environ_proxies as proxies_for
from urllib3.exceptions import NameResolutionError

from focus.cli.failure import AUTH, SERVER, Failure, Unreachable, code_for

if TYPE_CHECKING:
    from focus.cli.client import Answer
    from focus.cli.token_store.records import Credential

WHERE = "Check --server and FOCUS_SERVER."
PROXIES = "Check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY."
IS_IT_UP = "Is it running, and is --server or FOCUS_SERVER right?"


def refusal(answer: Answer, server: str, credential: Credential | None) -> Failure:
    """Return the failure of a response other than 2xx."""
    return Failure(
        _line(answer, server, credential),
        code=code_for(answer.status),
        error=f"http_{answer.status}",
        answer=answer.data,
        status=answer.status,
    )


def not_signed_in(login: str) -> Failure:
    """Return the failure of a run without a token. `login` is the command to run."""
    return Failure(f"Not signed in. Run: {login}", code=AUTH, error="not_signed_in")


def not_focus(server: str) -> Failure:
    """Return the failure of a response that no Focus server would send."""
    return Failure(
        f"{server} did not answer like a Focus server. {WHERE}",
        code=SERVER,
        error="invalid_answer",
    )


def _line(answer: Answer, server: str, credential: Credential | None) -> str:
    status, data = answer.status, answer.data or {}
    message = str(data.get("message") or data.get("error") or f"HTTP {status}")
    message = message.rstrip(".")
    if status >= 500:
        trace = answer.headers.get("X-Request-ID")
        request = f" (request {trace})" if trace else ""
        return f"The server failed with {status}: {message}{request}. Try again later."
    if status < 400:
        return (
            f"{server} answered with a redirect, and a token is never sent on. {WHERE}"
        )
    if status == 401 and credential:
        return f"{message}. {credential.renewal}"
    if status == 402 and "available" in data:
        need, have = data.get("required", "?"), data["available"]
        return (
            f"{message}: {need} needed, {have} available. Buy credits, or ask for less."
        )
    if status == 403:
        return f"{message}. This token may not do that."
    if status == 404 and not data:
        return f"{server} does not know this address: is it a Focus server? {WHERE}"
    if status == 422:
        return f"{message}. Was the idempotency key used for another request?"
    if status == 429:
        wait = f"{answer.retry_after:.0f} s" if answer.retry_after else "a minute"
        return f"{message}. Try again in {wait}."
    return f"{message}."


def why_unreachable(server: str, error: requests.RequestException) -> Unreachable:
    """Return the failure of a request without a response.

    Its `may_pass` says whether a retry may help.
    """
    if isinstance(error, requests.exceptions.SSLError):
        if (unusable := _unusable_bundle()) is not None:
            return unusable
        return Unreachable(
            f"The certificate of {server} can't be verified, so nothing was sent.",
            may_pass=False,
        )
    # The server's own address was checked before.
    if isinstance(error, requests.exceptions.InvalidURL) and proxies_for(server):
        return Unreachable(
            f"The proxy's address can't be used. {PROXIES} Nothing was sent.",
            may_pass=False,
        )
    if isinstance(error, requests.exceptions.InvalidSchema):
        return Unreachable(
            f"The proxy can't be used: {error} {PROXIES} Nothing was sent.",
            may_pass=False,
        )
    if isinstance(error, requests.exceptions.InvalidURL):
        return Unreachable(f"{server} is no usable address. {WHERE}", may_pass=False)
    if isinstance(error, requests.exceptions.ProxyError):
        cause = "the proxy does not answer; check HTTPS_PROXY"
    elif isinstance(error, requests.exceptions.Timeout):
        cause = "no answer in time"
    elif _caused_by(error, NameResolutionError):
        cause = "its name is unknown"
    elif _caused_by(error, ConnectionRefusedError):
        cause = "connection refused"
    else:
        cause = "the connection broke"
    return Unreachable(f"Can't reach {server}: {cause}. {IS_IT_UP}")


def why_not_sent(error: OSError) -> Unreachable:
    """Return the failure of a local error that happened before the request was sent."""
    return _unusable_bundle() or Unreachable(
        f"Nothing was sent: {error.strerror or error}.", may_pass=False
    )


def _unusable_bundle() -> Unreachable | None:
    """Return the failure of the CA bundle that the environment names, if it is bad."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        path = os.environ.get(name)
        if not path:
            continue
        try:
            folder = os.path.isdir(path)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(**{"capath" if folder else "cafile": path})
        except OSError as broken:
            is_read = isinstance(broken, ssl.SSLError)
            why = "it holds no certificates" if is_read else broken.strerror
            return Unreachable(
                f"{name} names a CA bundle that can't be used: {path}: {why}. "
                "Correct or unset it. Nothing was sent.",
                may_pass=False,
            )
        break
    return None


def _caused_by(error: BaseException, kind: type[BaseException]) -> bool:
    """requests hides the socket's error in `args`, `reason` and `__cause__`."""
    seen: list[BaseException] = []
    todo: list[object] = [error]
    while todo:
        item = todo.pop()
        if not isinstance(item, BaseException) or item in seen:
            continue
        if isinstance(item, kind):
            return True
        seen.append(item)
        todo += [*item.args, getattr(item, "reason", None)]
        todo += [item.__cause__, item.__context__]
    return False
