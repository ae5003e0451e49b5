"""Which server is meant, and whether a token may be sent there."""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import urlsplit

from focus.cli.failure import USAGE, Failure

DEFAULT = "http://localhost:8000"
_DEFAULT_PORTS = {"http": 80, "https": 443}


def requested(option: str | None) -> str | None:
    """What this run asks for: --server, else FOCUS_SERVER."""
    return option or os.environ.get("FOCUS_SERVER") or None


def choose(requested: str | None, stored: str | None) -> str:
    """What was asked for, else the last login's, else the local one."""
    return normalise(requested or stored or DEFAULT)


def normalise(text: str) -> str:
    """One spelling per server, since tokens are stored under it."""
    text = text.strip()
    if "://" not in text:
        scheme = "http" if _loopback(urlsplit(f"//{text}").hostname) else "https"
        text = f"{scheme}://{text}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _bad(text) from None
    if parts.scheme not in _DEFAULT_PORTS or not host or parts.query or parts.fragment:
        raise _bad(text)
    # Userinfo hides the real host from the eye: https://account.example@evil.example
    if "@" in parts.netloc or re.search(r"[\x00-\x20\\\x7f]", text):
        raise _bad(text)
    host = f"[{host}]" if ":" in host else host.rstrip(".")
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        host = f"{host}:{port}"
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


def require_private_line(server: str, *, allow_http: bool) -> None:
    """A token on plain http can be read on its way; loopback never leaves home."""
    parts = urlsplit(server)
    if parts.scheme == "https" or allow_http or _loopback(parts.hostname):
        return
    raise Failure(
        f"{server} is not encrypted, so a token sent there can be stolen. "
        "Use https, or --allow-http if you trust the network.",
        code=USAGE,
        error="insecure_server",
    )


def is_loopback(server: str) -> bool:
    return _loopback(urlsplit(server).hostname)


def _loopback(host: str | None) -> bool:
    if host is None:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bad(text: str) -> Failure:
    return Failure(
        f"{text!r} is no server address. Use one such as https://account.example.com",
        code=USAGE,
        error="invalid_server",
    )
