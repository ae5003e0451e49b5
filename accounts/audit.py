"""The audit: one append-only row for each thing that happened to somebody's access."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import SecurityEvent, User


@dataclass(frozen=True, slots=True)
class Visitor:
    """Where a request came from, as far as we can tell."""

    ip: str | None = None
    user_agent: str = ""


NO_VISITOR = Visitor()


def record(
    kind: str,
    *,
    user: User | None = None,
    actor: str = "",
    visitor: Visitor = NO_VISITOR,
    **facts: Any,
) -> SecurityEvent:
    """Write one event, in the caller's transaction if there is one.

    `facts` go to JSON as they are and must hold no secret. `actor` is who did it where
    that is not `user` themselves.
    """
    return SecurityEvent.objects.create(
        user=user,
        actor=actor or (str(user) if user else ""),
        kind=kind,
        facts=facts,
        ip=visitor.ip,
        user_agent=visitor.user_agent,
        at=timezone.now(),
    )


# What staff look at and prepare. The person reads what came of it, not this.
INTERNAL = [
    "adjustment_rejected",
    "adjustment_requested",
    "adjustment_withdrawn",
    "overdraft_limit_set",
    "statement_exported",
    "wallet_opened",
    "wallet_verified",
]


@dataclass(frozen=True, slots=True)
class OwnerEvent:
    """An event as the account's owner may read it.

    `ip` and `user_agent` are their own or empty: a member of staff keeps theirs.
    """

    kind: str
    at: datetime
    by_staff: bool
    ip: str | None
    user_agent: str


def owner_events(*, user: User, limit: int) -> list[OwnerEvent]:
    """The last events that concern the account's owner, newest first."""
    events = list(events_of(user=user).exclude(kind__in=INTERNAL)[:limit])
    own = {"", str(user), str(user.pk)}
    others = {event.actor for event in events} - own
    staff = set(
        User.objects.filter(email__in=others, is_staff=True).values_list(
            "email", flat=True
        )
        if others
        else ()
    )
    return [
        OwnerEvent(
            event.kind,
            event.at,
            event.actor in staff,
            event.ip if event.actor in own else None,
            event.user_agent if event.actor in own else "",
        )
        for event in events
    ]


def events_of(*, user: User) -> QuerySet[SecurityEvent]:
    """What happened to one person's access, newest first."""
    return SecurityEvent.objects.filter(user=user).order_by("-at", "-pk")
