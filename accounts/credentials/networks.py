"""Where a person's tokens and keys are used from: the first use from a new network is
told by mail, once for each.

The networks stand in the credential's own row, which is read anyway, so that a use from
a known one costs nothing.
"""

from functools import lru_cache
from ipaddress import ip_address, ip_network

from django.db import transaction
from django.db.models import CharField, F, Func, Q, Value
from django.db.models.functions import Cast

from accounts import audit, mails
from accounts.audit import NO_VISITOR, Visitor
from accounts.models import PersonalAccessToken, UserKey

# What is used from more places than this has no place of its own, and its person has
# read as many letters.
MOST = 20
# What one customer of a provider has, more or less.
PREFIX = {4: 24, 6: 48}
WORDS = {PersonalAccessToken: "access token", UserKey: "API key"}


def network_of(visitor: Visitor) -> str | None:
    """The network that they came from, as CIDR; None where there is no address."""
    return _around(visitor.ip) if visitor.ip is not None else None


def initial_networks(visitor: Visitor = NO_VISITOR) -> list[str]:
    """What a new credential is given: where it was made is no news to its person."""
    network = network_of(visitor)
    return [network] if network else []


def record_network(*, row: PersonalAccessToken | UserKey, visitor: Visitor) -> None:
    """Remember where `row`, its person loaded, is used from now, and mail what is new.

    For a row whose use is noted just now. One that is older than this notion begins
    with where it is used next, and nobody is told.
    """
    network = network_of(visitor)
    known = row.networks
    if network is None or (
        known is not None and (network in known or len(known) >= MOST)
    ):
        return
    with transaction.atomic():
        if _added(row, network) and known is not None:
            _tell(row, network, last=len(known) + 1 >= MOST, visitor=visitor)


@lru_cache(maxsize=4096)
def _around(ip: str) -> str:
    address = ip_address(ip)
    return str(ip_network((address, PREFIX[address.version]), strict=False))


def _added(row: PersonalAccessToken | UserKey, network: str) -> bool:
    """One of however many come from there at once adds it."""
    fresh = ~Q(networks__contains=[network]) & Q(networks__len__lt=MOST)
    rows = type(row).objects.filter(fresh | Q(networks=None), pk=row.pk)
    added = Func(
        F("networks"),
        Cast(Value(network), CharField(max_length=43)),
        function="array_append",
    )
    return bool(rows.update(networks=added))


def _tell(
    row: PersonalAccessToken | UserKey, network: str, *, last: bool, visitor: Visitor
) -> None:
    words = WORDS[type(row)]
    audit.record(
        "used_from_new_network",
        user=row.user,
        visitor=visitor,
        credential_id=str(row.pk),
        network=network,
    )
    more = (
        " It has been used from many networks, so you will get no more emails about "
        "others."
    )
    mails.write(
        user=row.user,
        subject=f"Your {words} was used from a new network",
        what=f"The {words} {row} was used from {network} for the first time."
        f"{more if last else ''}",
        visitor=visitor,
    )
