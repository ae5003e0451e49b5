"""Check URLs that strangers choose for our requests: public, in one plain spelling.

`parse_url` checks the text of a URL. `require_public` checks each IP address that
`focus.outgoing.safe_http` is about to connect to.
"""

import contextlib
import ipaddress
import re
import socket
import threading
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from focus.errors import DomainError

LONGEST_URL = 2048
# How long a registration waits for DNS.
LOOKUP_SECONDS = 2.0

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _networks(text: str) -> list[_Network]:
    return [ipaddress.ip_network(part) for part in text.split()]


# Private, shared, link-local, reserved, documentation, multicast, and the metadata
# services of clouds (169.254/16, 168.63.129.16).
_DENIED_4 = _networks(
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16"
    " 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24"
    " 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24"
    " 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4"
)
# Of IPv6 only global unicast, without what carries an IPv4 address inside (Teredo,
# 6to4), and documentation.
_ALLOWED_6 = ipaddress.ip_network("2000::/3")
_DENIED_6 = _networks("2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20")
# Ports of services that may take a line of HTTP for a command.
_DENIED_PORTS = {
    *(1433, 1521, 1719, 1720, 1723, 2049, 2181, 2375, 2376, 2379, 2380, 3306, 3389),
    *(3659, 4045, 4190, 5060, 5061, 5432, 5672, 5900, 5984, 5985, 5986, 6000, 6379),
    *(6380, 6443, 6566, 6665, 6666, 6667, 6668, 6669, 6697, 7000, 7001, 8086, 8500),
    *(9042, 9092, 9200, 9300, 10050, 10051, 10080, 10250, 10255, 11211, 27017, 50000),
}
_VISIBLE = re.compile(r"[!-~]+")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class BadAddress(DomainError):
    """The URL is not allowed. The message says why."""

    code = "bad_webhook_url"


def check_url(url: str) -> None:
    """Raise `BadAddress` for a URL that a delivery would always refuse.

    An unknown host name passes, because each delivery resolves the name again.
    """
    parts = parse_url(url)
    try:
        found = resolve(parts.hostname or "", port_of(parts), LOOKUP_SECONDS)
    except OSError:
        return
    for address in found:
        require_public(parts.scheme, address[4][0])


def is_public(ip: str) -> bool:
    """Return whether this IP address is on the public internet."""
    address = _plain(ip)
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _DENIED_4)
    denied = any(address in network for network in _DENIED_6)
    return address in _ALLOWED_6 and not denied


def parse_url(url: str) -> SplitResult:
    """Parse a URL that we may POST to. Raises `BadAddress`.

    Refuses user names, fragments, other schemes, unsafe ports, and hosts that URL
    parsers read differently.
    """
    if len(url) > LONGEST_URL or not _VISIBLE.fullmatch(url) or "\\" in url:
        raise BadAddress(
            f"The url must be at most {LONGEST_URL} visible ASCII characters."
        )
    try:
        parts = urlsplit(url)
        port = port_of(parts)
    except ValueError:
        raise BadAddress("The url cannot be read.") from None
    if parts.scheme not in ("https", "http") or not url.lower().startswith(
        f"{parts.scheme}://"
    ):
        raise BadAddress("The url must begin with https://.")
    if parts.scheme == "http" and not settings.WEBHOOK_ALLOW_PRIVATE:
        raise BadAddress("The url must begin with https://.")
    if "@" in parts.netloc:
        raise BadAddress("The url must not hold a user name or password.")
    if "#" in url:
        raise BadAddress("The url must not have a #fragment.")
    if port in _DENIED_PORTS or (port < 1024 and port not in (80, 443)):
        raise BadAddress(f"Webhooks cannot use port {port}.")
    _check_host(parts)
    return parts


def port_of(parts: SplitResult) -> int:
    """Return the URL's port, or its scheme's default. Raises `ValueError`."""
    if parts.netloc.endswith(":") or parts.port == 0:
        raise ValueError
    return parts.port or (443 if parts.scheme == "https" else 80)


def _check_host(parts: SplitResult) -> None:
    """Refuse hosts that libraries read in two ways: each host has one spelling."""
    host = (parts.hostname or "").lower()
    if literal := _literal(parts.netloc, host):
        require_public(parts.scheme, literal)
        return
    labels = host.split(".")
    if host == "localhost":
        if not settings.WEBHOOK_ALLOW_PRIVATE:
            raise BadAddress("The url must be a public address.")
        return
    named = len(labels) > 1 and len(host) <= 253 and all(map(_LABEL.fullmatch, labels))
    # Some parsers read a host that ends in a number as IPv4: 0x7f.1, 127.1, 2130706433.
    if not named or re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        raise BadAddress("The url's host must be a public domain name.")


def _literal(netloc: str, host: str) -> str | None:
    """Return `host` if it is an IP address in its plain spelling; None for a name."""
    if netloc.startswith("["):
        try:
            # A zone (`%eth0`) would name an interface of this machine, so it is no
            # match.
            address = ipaddress.IPv6Address(host)
        except ValueError:
            address = None
        if address is None or str(address) != host or address.ipv4_mapped:
            raise BadAddress("The url's host is not a plain IPv6 address.")
        return host
    with contextlib.suppress(ValueError):
        return str(ipaddress.IPv4Address(host))
    return None


def require_public(scheme: str, ip: str) -> None:
    """Raise `BadAddress` unless we may connect to this IP address by `scheme`."""
    if settings.WEBHOOK_ALLOW_PRIVATE and _plain(ip).is_loopback:
        return
    if scheme != "https" or not is_public(ip):
        raise BadAddress("The url must be a public https address.")


def _plain(ip: str) -> _Address:
    address = ipaddress.ip_address(ip.split("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def resolve(host: str, port: int, seconds: float) -> list[Any]:
    """Return all addresses of `host` within `seconds`, as `getaddrinfo` does.

    Raises `socket.gaierror`, also after a timeout.
    """
    literal = re.fullmatch(r"[0-9.]+|[0-9a-f:]*:[0-9a-f:.]*", host)
    if literal:
        return _resolve(host, port)
    answer: list[Any] = []

    def look_up() -> None:
        try:
            answer.append(_resolve(host, port))
        except OSError as unknown:
            answer.append(unknown)

    # The resolver has no timeout and cannot be cancelled, so it runs in a thread.
    lookup = threading.Thread(target=look_up, daemon=True)
    lookup.start()
    lookup.join(seconds)
    if not answer:
        raise socket.gaierror(socket.EAI_AGAIN, "the name servers are silent")
    if isinstance(answer[0], OSError):
        raise answer[0]
    found: list[Any] = answer[0]
    return found


def _resolve(host: str, port: int) -> list[Any]:
    try:
        return socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    except UnicodeError as odd:
        raise socket.gaierror(socket.EAI_NONAME, "not a name") from odd
