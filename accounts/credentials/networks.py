"""The networks that tokens and user keys are used from.

The first use from each new network is recorded and mailed to the user. The networks are
a column of the credential's row, which every request reads anyway. So a use from a
known network costs no query.
"""

from functools import lru_cache
from ipaddress import ip_address, ip_network

from django.db import transaction
from django.db.models import CharField, F, Func, Q, Value
from django.db.models.functions import Cast

from accounts import audit, mails
from accounts.audit import NO_VISITOR, Visitor
from accounts.models import PersonalAccessToken, UserKey

# Stop recording networks after 20: the user has already received 20 emails about this
# credential.
MOST = 20
# About the size of one customer's network at an internet provider, by IP version.
PREFIX = {4: 24, 6: 48}
WORDS = {PersonalAccessToken: "access token", UserKey: "API key"}


def network_of(visitor: Visitor) -> str | None:
    """Return the network of the visitor's address as CIDR, None without an address."""
    return _around(visitor.ip) if visitor.ip is not None else None


def initial_networks(visitor: Visitor = NO_VISITOR) -> list[str]:
    """Return the known networks of a new credential: the one that it was made from."""
    network = network_of(visitor)
    return [network] if network else []


def record_network(*, row: PersonalAccessToken | UserKey, visitor: Visitor) -> None:
    """Record the network of this use, and mail the user if it is new.

    `row` must have its user loaded. No query for a known network. Tokens created before
    this feature have None; they record the network of their next use without a mail.
    """
    network = network_of(visitor)
    known = row.networks
    if network is None or (
        known is not None and (network in known or len(known) >= MOST)
    ):
        return
    with transaction.atomic():
        if _add_network(row, network) and known is not None:
            _report_network(row, network, last=len(known) + 1 >= MOST, visitor=visitor)


@lru_cache(maxsize=4096)
def _around(ip: str) -> str:
    address = ip_address(ip)
    return str(ip_network((address, PREFIX[address.version]), strict=False))


def _add_network(row: PersonalAccessToken | UserKey, network: str) -> bool:
    """Add the network. Of concurrent requests from it exactly one returns True."""
    fresh = ~Q(networks__contains=[network]) & Q(networks__len__lt=MOST)
    rows = type(row).objects.filter(fresh | Q(networks=None), pk=row.pk)
    added = Func(
        F("networks"),
        Cast(Value(network), CharField(max_length=43)),
        function="array_append",
    )
    return bool(rows.update(networks=added))


def _report_network(
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
