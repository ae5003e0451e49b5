"""The audit: one append-only row for each change to the access of an account.

A trigger refuses to change or delete these rows.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import SecurityEvent, User


@dataclass(frozen=True, slots=True)
class Visitor:
    """The address and user agent of a request. None and "" if they are unknown."""

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

    `facts` are stored as JSON and must hold no secret. `actor` names the staff member
    or system that acted; without it the actor is `user`.
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


# Steps of staff that the account's owner does not see. The owner sees their results.
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
    """An event as shown to the account's owner.

    `ip` and `user_agent` are the owner's own. They are empty where staff acted, so that
    staff addresses stay private.
    """

    kind: str
    at: datetime
    by_staff: bool
    ip: str | None
    user_agent: str


def owner_events(*, user: User, limit: int) -> list[OwnerEvent]:
    """Return the last `limit` events that the account's owner may see, newest first."""
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
    """Return all events of one account, newest first."""
    return SecurityEvent.objects.filter(user=user).order_by("-at", "-pk")
