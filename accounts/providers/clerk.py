"""Verification of Clerk's session tokens, without a request to Clerk.

A token lives for a minute. Clerk's public key alone verifies it, so a session that
Clerk has ended still works here until its last token expires. Without CLERK_ISSUER and
a key, every Clerk token is invalid.
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
    """One verified token: its Clerk user and session, and the origin it is made for.

    `party` is that origin (`azp`), None if Clerk left it out. `impersonator` is the
    Clerk id of the staff member who acts for the user, else empty.
    """

    token: str = field(repr=False)
    clerk_id: str
    session_id: str
    party: str | None
    impersonator: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class VisitMatch:
    """The account of a visit and the app that its token is made for.

    `user` is None if no account has this Clerk id yet. `app` is None if the token is
    made for our own pages or for no page. `revoked` says that the user has revoked the
    app.
    """

    user: User | None
    app: App | None
    revoked: bool


def is_clerk_token(token: str) -> bool:
    """Return whether a JWT names Clerk's algorithm, RS256. Our own JWTs use ES256.

    The header only chooses the verifier; it proves nothing.
    """
    try:
        return bool(jwt.get_unverified_header(token).get("alg") == jwks.ALGORITHM)
    except jwt.InvalidTokenError:
        return False


def read(token: str) -> Visit:
    """Verify a session token's signature, issuer and times, and return its claims.

    `find` decides whether pages of its `party` may call us. Raises `TokenExpired`,
    `InvalidToken`, and `ServiceDown` if Clerk's keys are unavailable.
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
        _matches(person, _PERSON)
        and _matches(session, _SESSION)
        and isinstance(party, str | None)
        # A pending session has an open task at Clerk, such as a second factor.
        and claims.get("sts") in (None, "active")
    ):
        raise TokenEnded("The token is invalid.")
    expires_at = datetime.fromtimestamp(int(claims["exp"]), UTC)
    actor = _actor(claims.get("act"))
    return Visit(token, person, session, party, actor, expires_at)


def find(*, visit: Visit) -> VisitMatch:
    """Return the account of this visit and the app that its token is bound to.

    One query. Raises `InvalidToken` for a token that is made for an unregistered page,
    and for a closed account.
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


# Always one row: user columns are NULL for a new Clerk id, app columns for our pages.
_FIND: LiteralString = f"""
    SELECT {columns(App, "a")}, {columns(User, "u")}, c.revoked_at IS NOT NULL
    FROM (SELECT) one
    LEFT JOIN accounts_user u ON u.clerk_id = %(clerk_id)s
    LEFT JOIN accounts_app a
      ON NOT %(ours)s AND {LIVE} AND a.origins @> %(party)s::varchar[]
    LEFT JOIN accounts_consent c ON c.user_id = u.id AND c.app_id = a.id
"""  # noqa: S608 — built from constants only


def note_impersonation(*, visit: Visit, user: User, visitor: Visitor) -> None:
    """Record in the audit log that Clerk staff act as `user`: one event per session."""
    recorded = SecurityEvent.objects.filter(
        user=user, kind="impersonated", facts__session=visit.session_id
    )
    if not recorded.exists():
        audit.record(
            "impersonated",
            user=user,
            actor=f"clerk:{visit.impersonator}",
            visitor=visitor,
            session=visit.session_id,
        )


def _actor(act: Any) -> str:
    """Return the impersonator of an `act` claim; "unknown" without a usable `sub`."""
    if act is None:
        return ""
    name = act.get("sub") if isinstance(act, dict) else None
    return name[:64] if isinstance(name, str) and name else "unknown"


def _matches(value: Any, pattern: re.Pattern[str]) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
