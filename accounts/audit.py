"""The audit: one append-only row for each thing that happened to somebody's access."""

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import SecurityEvent, User


@dataclass(frozen=True, slots=True)
class Visitor:
    """Where a request came from, as far as we can tell."""

    ip: str | None = None
    user_agent: str = ""


NOBODY = Visitor()


def record(
    kind: str,
    *,
    user: User | None = None,
    actor: str = "",
    visitor: Visitor = NOBODY,
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


def of(*, user: User) -> QuerySet[SecurityEvent]:
    """What happened to one person's access, newest first."""
    return SecurityEvent.objects.filter(user=user).order_by("-at", "-pk")
