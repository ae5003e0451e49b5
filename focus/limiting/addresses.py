"""The client address of a request, as far as trusted proxies vouch for it."""

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any

from django.conf import settings

Address = IPv4Address | IPv6Address
# In TRUSTED_PROXIES: any peer that connects by a unix socket.
UNIX = "unix"


def client(meta: Mapping[str, Any]) -> Address | None:
    """Return the right-most hop outside TRUSTED_PROXIES; None without an address.

    Only the part of X-Forwarded-For that trusted proxies have written counts. A client
    can forge the rest.
    """
    trusted = tuple(settings.TRUSTED_PROXIES)
    hop = _read(meta.get("REMOTE_ADDR", ""))
    if not _is_trusted(hop, trusted):
        return hop
    for entry in reversed(meta.get("HTTP_X_FORWARDED_FOR", "").split(",")):
        before = _read(entry)
        if before is None:
            # Empty, or no address: our proxy has forwarded what the client sent.
            return hop
        hop = before
        if not _is_trusted(hop, trusted):
            return hop
    return hop


def is_trusted_proxy(meta: Mapping[str, Any]) -> bool:
    """Return whether the connection itself comes from one of TRUSTED_PROXIES."""
    hop = _read(meta.get("REMOTE_ADDR", ""))
    return _is_trusted(hop, tuple(settings.TRUSTED_PROXIES))


def neighbourhood(address: Address | None) -> str:
    """Return the unit that limits count: an IPv4 address, or an IPv6 /64 network."""
    if address is None:
        return UNIX
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return str(address)


def _read(text: str) -> Address | None:
    """Parse an address with or without port, brackets and zone; None if it is none.

    An IPv4-mapped IPv6 address becomes its IPv4 address.
    """
    bare = text.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def _is_trusted(hop: Address | None, trusted: tuple[str, ...]) -> bool:
    if hop is None:
        return UNIX in trusted
    return any(hop in network for network in _networks(trusted))


@lru_cache(maxsize=4)
def _networks(trusted: tuple[str, ...]) -> list[IPv4Network | IPv6Network]:
    return [ip_network(cidr, strict=False) for cidr in trusted if cidr != UNIX]
