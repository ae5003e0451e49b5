"""Tickets: codes in our redirect that an app's page exchanges for tokens.

The session is opened when the ticket is issued. So code that ends all sessions of the
user in between also ends this one.
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
    """The ticket is unknown, expired or used, or its session has ended."""

    code = "invalid_ticket"


def issue(*, session: Session, origin: str) -> str:
    """Issue a ticket for a token session, for pages of `origin` only.

    It has 256 random bits, lives for `LIVES_SECONDS` and works once. If no page redeems
    it, its session expires with it. Raises `nonces.Unavailable` without Redis.
    """
    last = timezone.now() + timedelta(seconds=LIVES_SECONDS)
    Session.objects.filter(pk=session.pk).update(idle_expires_at=last)
    facts = {"session": str(session.pk), "origin": origin}
    return nonces.keep(purpose=_PURPOSE, facts=facts, seconds=LIVES_SECONDS)


def redeem(
    *, ticket: object, origin: str | None, access_seconds: int
) -> sessions.SessionTokens:
    """Exchange a ticket for the tokens of its session. Only the first call succeeds.

    `origin` is the Origin header, None without one. A ticket from another origin is
    stolen, so its session ends. Raises `InvalidTicket`.
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
