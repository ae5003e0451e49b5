"""Sign-in by the device flow (RFC 8628) with PKCE: no password is typed here."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import secrets
import signal
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from focus.cli.client import Answer, Client
from focus.cli.failure import AUTH, Failure, Unreachable
from focus.cli.refusals import not_focus, refusal
from focus.cli.token_store.records import is_token

_LONGEST_BACKOFF = 60.0
# Short, because the user has pressed Ctrl-C.
_CANCEL_SECONDS = 3
_ENDINGS = {
    "access_denied": "The request was denied in the browser. Nothing was stored.",
    "expired_token": "The code ran out before it was approved. Run: focus login",
    "invalid_device_code": "The server no longer knows this code. Run: focus login",
}


@dataclass(frozen=True)
class Challenge:
    """The server's code for the user, and the secrets that this client polls with."""

    user_code: str
    url: str
    url_with_code: str
    expires_in: float
    interval: float
    device_code: str = field(repr=False)
    verifier: str = field(repr=False)


@dataclass(frozen=True)
class Grant:
    """A new token."""

    expires_at: str | None
    token: str = field(repr=False)


def start(client: Client, *, client_name: str, scope: str | None) -> Challenge:
    """Request a code. Polls need the PKCE verifier, so a leaked poll URL is useless."""
    verifier = secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    body = {
        "client_name": client_name,
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    if scope:
        body["scope"] = scope
    # Without retries: the user can start again, and a second code would confuse.
    answer = client.send("POST", "/api/device/start", body=body)
    if not answer.ok:
        raise refusal(answer, client.server, None)
    data = answer.data or {}
    try:
        return Challenge(
            user_code=data["user_code"],
            url=data["verification_uri"],
            url_with_code=data.get("verification_uri_complete")
            or data["verification_uri"],
            expires_in=_seconds(data.get("expires_in"), 900),
            interval=_seconds(data.get("interval"), 5),
            device_code=data["device_code"],
            verifier=verifier,
        )
    except KeyError:
        raise not_focus(client.server) from None


def wait(client: Client, challenge: Challenge) -> Grant:
    """Poll at the server's pace until the user decides or the code expires.

    Raises `Failure` if the user denies, the code expires, or the server stays down.
    """
    deadline = time.monotonic() + challenge.expires_in
    interval = pause = challenge.interval
    trouble = 0
    lost: Failure = _ended("expired_token")
    while time.monotonic() + pause <= deadline:
        time.sleep(pause)
        try:
            answer = _poll(client, challenge)
        except Unreachable as failure:
            if not failure.may_pass:
                raise
            answer = None
            lost = failure
        if answer is None or answer.status >= 500:
            trouble += 1
            pause = max(interval, min(2.0**trouble, _LONGEST_BACKOFF))
            continue
        trouble, lost = 0, _ended("expired_token")
        if answer.status == 202:
            interval = pause = _next_interval(answer.data or {}, interval)
        elif answer.status == 429:
            pause = max(interval, answer.retry_after or 0)
        else:
            return _granted(client, answer)
    raise lost


@contextlib.contextmanager
def cancelled_on_exit(client: Client, challenge: Challenge) -> Iterator[None]:
    """Cancel the code on the server if the block is stopped (Ctrl-C, SIGTERM, SIGHUP).

    Otherwise a user could still approve a code that no client waits for.
    """
    before = {kind: signal.signal(kind, _stop) for kind in _STOPPING}
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        with contextlib.suppress(Unreachable):
            client.send(
                "POST",
                "/api/device/cancel",
                body={"device_code": challenge.device_code},
                headers={"X-Code-Verifier": challenge.verifier},
                seconds=_CANCEL_SECONDS,
            )
        raise
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


_STOPPING = [
    kind
    for name in ("SIGTERM", "SIGHUP")
    if (kind := getattr(signal, name, None)) is not None
]


def _stop(kind: int, _frame: object) -> None:
    # The exit code by which shells report the end by a signal.
    raise SystemExit(128 + kind)


def open_browser(url: str) -> bool:
    """Open a graphical browser if there is one. Never raises and never blocks."""
    if sys.stderr is None or not sys.stderr.isatty() or not _has_browser():
        return False
    if urlsplit(url).scheme not in ("http", "https"):
        return False
    # In a thread: a $BROWSER that stays in the foreground must not stop the polling.
    threading.Thread(target=_open_quietly, args=(url,), daemon=True).start()
    return True


def _has_browser() -> bool:
    if sys.platform in ("win32", "darwin") or os.environ.get("BROWSER"):
        return True
    # Without a display, webbrowser starts a text browser over our own output.
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _open_quietly(url: str) -> None:
    try:
        webbrowser.open(url)
    except (webbrowser.Error, OSError):
        return  # the terminal shows the address anyway


def _poll(client: Client, challenge: Challenge) -> Answer:
    return client.send(
        "GET",
        "/api/device/poll",
        params={"device_code": challenge.device_code},
        headers={"X-Code-Verifier": challenge.verifier},
    )


def _next_interval(data: dict[str, Any], interval: float) -> float:
    slower = interval + 5 if data.get("status") == "slow_down" else interval
    return _seconds(data.get("interval"), slower)


def _granted(client: Client, answer: Answer) -> Grant:
    data = answer.data or {}
    if answer.ok:
        if not is_token(data.get("token")):
            raise not_focus(client.server)
        expiry = data.get("expires_at")
        return Grant(token=data["token"], expires_at=str(expiry) if expiry else None)
    if data.get("error") in _ENDINGS:
        raise _ended(str(data["error"]), data)
    raise refusal(answer, client.server, None)


def _ended(error: str, body: dict[str, Any] | None = None) -> Failure:
    return Failure(_ENDINGS[error], code=AUTH, error=error, answer=body)


def _seconds(value: object, default: float) -> float:
    """Return a pause of at least one second, even if the server names less."""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return max(1.0, float(value))
    return default
