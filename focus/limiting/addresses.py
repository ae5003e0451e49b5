"""Where a request comes from, as far as it can be believed."""

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
# In TRUSTED_PROXIES: whoever connects by a unix socket.
UNIX = "unix"


def client(meta: Mapping[str, Any]) -> Address | None:
    """The right-most hop that is not one of TRUSTED_PROXIES; None if it has no address.

    What X-Forwarded-For says counts only as far as trusted proxies have written it.
    """
    trusted = tuple(settings.TRUSTED_PROXIES)
    hop = _read(meta.get("REMOTE_ADDR", ""))
    if not _is_trusted(hop, trusted):
        return hop
    for said in reversed(meta.get("HTTP_X_FORWARDED_FOR", "").split(",")):
        before = _read(said)
        if before is None:
            # Nothing, or nonsense that our proxy was sent and passed on.
            return hop
        hop = before
        if not _is_trusted(hop, trusted):
            return hop
    return hop


def is_trusted_proxy(meta: Mapping[str, Any]) -> bool:
    """Whether the connection itself comes from one of TRUSTED_PROXIES."""
    hop = _read(meta.get("REMOTE_ADDR", ""))
    return _is_trusted(hop, tuple(settings.TRUSTED_PROXIES))


def neighbourhood(address: Address | None) -> str:
    """What is limited as one: an IPv4 address, the /64 that an IPv6 customer has."""
    if address is None:
        return UNIX
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return str(address)


def _read(text: str) -> Address | None:
    """With or without a port, brackets or a zone. IPv4 is IPv4, mapped or not."""
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
