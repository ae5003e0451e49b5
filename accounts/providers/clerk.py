"""Clerk's session tokens, believed without asking Clerk.

A token lives for a minute and is verified by Clerk's public key alone, so a session
that Clerk has ended works here until its last token runs out. Which settings are unset
decides what is refused: without an issuer and a key, every token of Clerk's is invalid.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, LiteralString

import jwt
from django.conf import settings

from accounts import audit
from accounts.audit import Visitor
from accounts.credentials.principals import MalformedToken, TokenEnded
from accounts.models import App, SecurityEvent, User
from accounts.models.apps import LIVE
from accounts.partners import origins
from accounts.providers import jwks
from focus.database.statements import columns, instance, tuples

_REQUIRED = ["iss", "sub", "sid", "iat", "nbf", "exp"]
_PERSON = re.compile(r"user_[A-Za-z0-9]{1,59}")
_SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Visit:
    """One genuine token: whose it is, and for which page's origin it was made.

    `party` is None where Clerk left it out. `impersonator` is who acts in the person's
    place, else empty.
    """

    token: str = field(repr=False)
    clerk_id: str
    session_id: str
    party: str | None
    impersonator: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class VisitMatch:
    """The person of a visit, None for a newcomer, and the app that the token is for.

    `app` is None for a token that was made for our own pages, or for none. `revoked`
    says that the person took the app's permission back.
    """

    user: User | None
    app: App | None
    revoked: bool


def is_clerk_token(token: str) -> bool:
    """Whether a three-part token is to be tried here. Its looks prove nothing: it says
    RS256, where ours say ES256.
    """
    try:
        return bool(jwt.get_unverified_header(token).get("alg") == jwks.ALGORITHM)
    except jwt.InvalidTokenError:
        return False


def read(token: str) -> Visit:
    """What a session token says, once its signature, issuer and times were right.

    Whether its `party` may speak to us is for `find` to say. Raises `TokenExpired`,
    `InvalidToken`, and `ServiceDown` where Clerk's keys cannot be had.
    """
    if not settings.CLERK_ISSUER:
        raise MalformedToken("The token is invalid.")
    claims = jwks.read(
        token,
        url=settings.CLERK_JWKS_URL,
        pem=settings.CLERK_JWT_KEY,
        issuer=settings.CLERK_ISSUER,
        required=_REQUIRED,
    )
    person, session, party = claims["sub"], claims["sid"], claims.get("azp")
    if not (
        _is(person, _PERSON)
        and _is(session, _SESSION)
        and isinstance(party, str | None)
        # A pending session still owes Clerk something, such as a second factor.
        and claims.get("sts") in (None, "active")
    ):
        raise TokenEnded("The token is invalid.")
    expires_at = datetime.fromtimestamp(int(claims["exp"]), UTC)
    actor = _actor(claims.get("act"))
    return Visit(token, person, session, party, actor, expires_at)


def find(*, visit: Visit) -> VisitMatch:
    """The person of this visit and the app that its token is bound to: one query.

    Raises `InvalidToken` for a token that was made for a page we do not know, and for a
    closed account.
    """
    party = visit.party
    ours = party is None or origins.is_first_party(party)
    facts = {"clerk_id": visit.clerk_id, "party": [party or ""], "ours": ours}
    [row] = tuples(_FIND, facts)
    app, place = instance(App, row)
    user, place = instance(User, row, place)
    if not ours and app.pk is None:
        raise TokenEnded("The token was made for a page that we do not know.")
    if user.pk is not None and not user.is_active:
        raise TokenEnded("The token is invalid.")
    return VisitMatch(
        user if user.pk is not None else None, None if ours else app, row[place]
    )


# One row always: without a person where we have not met, without an app for our pages.
_FIND: LiteralString = f"""
    SELECT {columns(App, "a")}, {columns(User, "u")}, c.revoked_at IS NOT NULL
    FROM (SELECT) one
    LEFT JOIN accounts_user u ON u.clerk_id = %(clerk_id)s
    LEFT JOIN accounts_app a
      ON NOT %(ours)s AND {LIVE} AND a.origins @> %(party)s::varchar[]
    LEFT JOIN accounts_consent c ON c.user_id = u.id AND c.app_id = a.id
"""  # noqa: S608 — only our own text is put in


def note_impersonation(*, visit: Visit, user: User, visitor: Visitor) -> None:
    """Write down who looks at `user`'s account in their place, once a Clerk session."""
    told = SecurityEvent.objects.filter(
        user=user, kind="impersonated", facts__session=visit.session_id
    )
    if not told.exists():
        audit.record(
            "impersonated",
            user=user,
            actor=f"clerk:{visit.impersonator}",
            visitor=visitor,
            session=visit.session_id,
        )


def _actor(act: Any) -> str:
    """Who is behind an `act` claim, whatever is in it."""
    if act is None:
        return ""
    name = act.get("sub") if isinstance(act, dict) else None
    return name[:64] if isinstance(name, str) and name else "unknown"


def _is(value: Any, pattern: re.Pattern[str]) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
