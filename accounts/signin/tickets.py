"""Tickets: a sign-in on its way from our redirect to an app's page, for seconds.

The sign-in is opened when the ticket is made, so that whatever ends a person's sign-ins
in between ends this one too; the ticket only says which it is.
"""

import uuid
from datetime import timedelta

from django.utils import timezone

from accounts import nonces
from accounts.credentials.principals import InvalidToken, TokenExpired
from accounts.models import Session
from accounts.signin import sessions
from focus.errors import DomainError

LIVES_SECONDS = 60
_PURPOSE = "ticket"


class InvalidTicket(DomainError):
    """Unknown, too old, used, or its sign-in has ended."""

    code = "invalid_ticket"


def issue(*, session: Session, origin: str) -> str:
    """A ticket for a sign-in by tokens, for pages of `origin`: 256 bits, 60 s, once.

    A ticket that nobody redeems leaves no sign-in behind.
    """
    last = timezone.now() + timedelta(seconds=LIVES_SECONDS)
    Session.objects.filter(pk=session.pk).update(idle_expires_at=last)
    facts = {"session": str(session.pk), "origin": origin}
    return nonces.keep(purpose=_PURPOSE, facts=facts, seconds=LIVES_SECONDS)


def redeem(
    *, ticket: object, origin: str | None, access_seconds: int
) -> sessions.SessionTokens:
    """The tokens of its sign-in, for the first who asks.

    `origin` is the page that asks, where a browser says so. Raises `InvalidTicket`.
    """
    invalid = InvalidTicket("The ticket is unknown, used or older than a minute.")
    try:
        facts = nonces.take(purpose=_PURPOSE, nonce=ticket)
        if facts is None:
            raise invalid
        session = sessions.find(session_id=uuid.UUID(facts["session"]))
    except (nonces.OtherPurpose, InvalidToken, TokenExpired) as refusal:
        raise invalid from refusal
    if origin is not None and origin != facts["origin"]:
        sessions.revoke(session=session, actor="system:stolen-ticket")
        raise invalid
    now = timezone.now()
    session.last_used_at, session.idle_expires_at = now, now + sessions.IDLE
    session.save(update_fields=["last_used_at", "idle_expires_at"])
    return sessions.issue_tokens(session=session, access_seconds=access_seconds)
