"""The server's address: which one applies, and whether a token may be sent there."""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import urlsplit

from focus.cli.failure import USAGE, Failure

DEFAULT = "http://localhost:8000"
_DEFAULT_PORTS = {"http": 80, "https": 443}


def requested(option: str | None) -> str | None:
    """Return --server, else FOCUS_SERVER, else None."""
    return option or os.environ.get("FOCUS_SERVER") or None


def choose(requested: str | None, stored: str | None) -> str:
    """Return the requested server, else that of the last login, else the local one."""
    return normalise(requested or stored or DEFAULT)


def normalise(text: str) -> str:
    """Return the one spelling of a server's URL, because tokens are stored by it.

    Raises `Failure` for a URL with userinfo, a query or a fragment.
    """
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
    # Userinfo hides the real host: https://account.example@evil.example
    if "@" in parts.netloc or re.search(r"[\x00-\x20\\\x7f]", text):
        raise _bad(text)
    host = f"[{host}]" if ":" in host else host.rstrip(".")
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        host = f"{host}:{port}"
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


def require_encryption(server: str, *, allow_http: bool) -> None:
    """Raise `Failure` for plain http, where others on the network can read the token.

    Loopback is allowed: its traffic stays on this machine.
    """
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
    """Whether the server's host is this machine."""
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
