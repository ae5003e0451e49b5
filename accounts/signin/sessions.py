"""Sessions: one for each sign-in, with rotating refresh tokens.

Refresh tokens rotate with acknowledgement:

1. A refresh returns a successor. The old token still works and returns the same
   successor, because an answer can be lost and two tabs can refresh at once.
2. The first use of the successor retires the old token.
3. A retired token can only be stolen. Its use ends the whole session.
"""

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import LiteralString

from django.contrib.sessions.models import Session as BrowserSession
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from accounts import audit, mails
from accounts.audit import NO_VISITOR, Visitor
from accounts.credentials import jwt, proofs
from accounts.credentials.principals import InvalidToken, TokenEnded, TokenExpired
from accounts.models import Passkey, Session, User
from accounts.signin import browser_sessions
from focus.database.statements import columns, instance, tuples
from focus.errors import NotFound

IDLE = timedelta(days=7)
ABSOLUTE = timedelta(days=30)
# For how long after its retirement a token may still be a retry of a lost answer.
GRACE = timedelta(seconds=10)
TOUCH_AFTER = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class SessionTokens:
    """A session and its new pair of tokens. The tokens are not stored."""

    session: Session
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A signed JWT and when it expires. The token is not stored."""

    text: str = field(repr=False)
    expires_at: datetime


def begin(
    *,
    user: User,
    client: str,
    access_seconds: int,
    methods: list[str],
    passkey: Passkey | None = None,
    visitor: Visitor = NO_VISITOR,
) -> SessionTokens:
    """Open a session that is carried by an access and a refresh token.

    Locks the account. Raises `TokenEnded` if all sign-ins of the account were ended
    since `user` was read.
    """
    with transaction.atomic():
        session = _create(
            user,
            Session.Kind.TOKENS,
            client,
            methods,
            visitor,
            passkey,
            tip=uuid.uuid4(),
        )
    return _tokens(session, access_seconds, session.created_at)


def begin_in_browser(
    *,
    user: User,
    browser_key: str,
    methods: list[str],
    passkey: Passkey | None = None,
    visitor: Visitor = NO_VISITOR,
) -> Session:
    """Open a session carried by this Django session. Locks and raises as `begin`."""
    with transaction.atomic():
        key = browser_sessions.digest(browser_key)
        kind = Session.Kind.BROWSER
        return _create(
            user, kind, "browser", methods, visitor, passkey, browser_key=key
        )


def issue_tokens(*, session: Session, access_seconds: int) -> SessionTokens:
    """Return the first pair of tokens of a live token session."""
    return _tokens(session, access_seconds, timezone.now())


def access_token(*, session: Session, seconds: int, azp: str = "") -> AccessToken:
    """Return a JWT for a live session. `azp` is the slug of the app it is bound to."""
    return _access_token(session, seconds, timezone.now(), azp)


def refresh(
    *, refresh_token: str, access_seconds: int, visitor: Visitor = NO_VISITOR
) -> SessionTokens:
    """Exchange a refresh token for the next pair of tokens.

    Raises `TokenExpired` for a session that was idle too long and `InvalidToken` for
    every other fault. A retired token also ends its session and mails the user. That
    must be committed although this raises, so never call it inside a transaction.
    """
    claims = jwt.read(jwt.REFRESH, refresh_token)
    presented = uuid.UUID(claims["jti"])
    with transaction.atomic(durable=True):
        # The row stands for the whole family of tokens. Concurrent refreshes wait for
        # its lock.
        session = (
            Session.objects.select_for_update(no_key=True, of=("self",))
            .select_related("user")
            .filter(pk=claims["sid"], kind=Session.Kind.TOKENS)
            .first()
        )
        now = timezone.now()
        session = require_live(session, now)
        reused = not _rotate(session, presented, now)
        if reused:
            _end(session, now)
            audit.record(
                "refresh_reused",
                user=session.user,
                visitor=visitor,
                session_id=str(session.pk),
                client=session.client,
            )
            mails.write(
                user=session.user,
                subject="One of your sessions was signed out",
                what="A refresh token was used again after it was replaced. It may "
                "have been stolen, so we signed this session out. Sign in again to "
                "continue.",
                visitor=visitor,
            )
    if reused:
        raise TokenEnded("The token is invalid.")
    return _tokens(session, access_seconds, now)


def find(*, session_id: uuid.UUID) -> Session:
    """Return the live session with this id, its user loaded. One query.

    Raises `InvalidToken` if the session was revoked or the account is closed, and
    `TokenExpired` if the session expired.
    """
    found = tuples(_FIND, {"session": session_id})
    if not found:
        return require_live(None, timezone.now())
    session, place = instance(Session, found[0])
    session.user, _ = instance(User, found[0], place)
    return require_live(session, timezone.now())


_FIND: LiteralString = f"""
    SELECT {columns(Session, "s")}, {columns(User, "u")}
    FROM accounts_session s JOIN accounts_user u ON u.id = s.user_id
    WHERE s.id = %(session)s
"""  # noqa: S608 — only column names are put in


def find_in_browser(*, browser_key: str) -> Session | None:
    """Return the live session of this Django session, None if either has ended."""
    now = timezone.now()
    row_key = browser_sessions.digest(browser_key)
    session = (
        Session.objects.select_related("user")
        .filter(Exists(_carrier(now)), browser_key=row_key)
        .first()
    )
    try:
        session = require_live(session, now)
    except (InvalidToken, TokenExpired):
        return None
    if now - session.last_used_at >= TOUCH_AFTER:
        _touch(session, now)
    return session


def live(*, user: User) -> QuerySet[Session]:
    """Return the live sessions of `user`, the last used first."""
    now = timezone.now()
    return Session.objects.filter(
        Q(kind=Session.Kind.TOKENS) | Exists(_carrier(now)),
        user=user,
        revoked_at=None,
        idle_expires_at__gt=now,
        absolute_expires_at__gt=now,
    ).order_by("-last_used_at", "-id")


def revoke(*, session: Session, actor: str = "", visitor: Visitor = NO_VISITOR) -> None:
    """End one session with its JWTs, refresh tokens and cookie. See `end`."""
    end(user_id=session.user_id, session_id=session.pk, actor=actor, visitor=visitor)


@transaction.atomic
def end(
    *,
    user_id: uuid.UUID,
    session_id: uuid.UUID,
    actor: str = "",
    visitor: Visitor = NO_VISITOR,
) -> Session:
    """End this session, once. Raises `NotFound` for an id that is not this user's."""
    row = (
        Session.objects.select_for_update(no_key=True, of=("self",))
        .select_related("user")
        .filter(pk=session_id, user_id=user_id)
        .first()
    )
    if row is None:
        raise NotFound("There is no such session.")
    if row.revoked_at is None:
        _end(row, timezone.now())
        audit.record(
            "session_revoked",
            user=row.user,
            actor=actor,
            visitor=visitor,
            session_id=str(row.pk),
            client=row.client,
        )
    return row


@transaction.atomic
def revoke_all(
    *,
    user: User,
    opened_by: Passkey | None = None,
    actor: str = "",
    visitor: Visitor = NO_VISITOR,
) -> int:
    """End every session of `user`, or those that one passkey opened.

    Returns how many sessions ended.
    """
    live = Session.objects.filter(user=user, revoked_at=None)
    if opened_by is not None:
        live = live.filter(passkey=opened_by)
    rows = list(live.select_for_update(no_key=True).order_by("pk"))
    now = timezone.now()
    for row in rows:
        _end(row, now)
    if rows:
        audit.record(
            "sessions_revoked", user=user, actor=actor, visitor=visitor, count=len(rows)
        )
    return len(rows)


def _create(
    user: User,
    kind: Session.Kind,
    client: str,
    methods: list[str],
    visitor: Visitor,
    passkey: Passkey | None = None,
    tip: uuid.UUID | None = None,
    browser_key: str | None = None,
) -> Session:
    proofs.lock_account(user=user)
    now = timezone.now()
    session = Session.objects.create(
        user=user,
        kind=kind,
        client=client,
        methods=methods,
        passkey=passkey,
        tip=tip,
        browser_key=browser_key,
        ip=visitor.ip,
        user_agent=visitor.user_agent,
        created_at=now,
        last_used_at=now,
        idle_expires_at=now + IDLE,
        absolute_expires_at=now + ABSOLUTE,
    )
    audit.record(
        "signed_in",
        user=user,
        visitor=visitor,
        session_id=str(session.pk),
        client=client,
        methods=methods,
    )
    return session


def _carrier(now: datetime) -> QuerySet[BrowserSession]:
    """Return the Django session behind a browser session, while it exists.

    Signing out of the admin deletes only Django's session, so ours must end with it.
    """
    return BrowserSession.objects.filter(
        session_key=OuterRef("browser_key"), expire_date__gt=now
    )


def require_live(session: Session | None, now: datetime) -> Session:
    """Return `session` if it is live. Raises `TokenEnded` or `TokenExpired`."""
    if session is None or session.revoked_at or not session.user.is_active:
        raise TokenEnded("The token is invalid.")
    if session.idle_expires_at <= now or session.absolute_expires_at <= now:
        raise TokenExpired("The session has expired. Please sign in again.")
    return session


def _rotate(session: Session, presented: uuid.UUID, now: datetime) -> bool:
    """Rotate to the next token. Returns False for a retired token, which is a theft."""
    if presented == session.tip:
        session.prev2, session.prev_retired_at = session.prev, now
        session.prev, session.tip = presented, uuid.uuid4()
    elif presented != session.prev:
        retired = session.prev_retired_at
        lost = retired is not None and now - retired < GRACE
        if presented != session.prev2 or not lost:
            return False
    session.last_used_at = now
    session.idle_expires_at = min(now + IDLE, session.absolute_expires_at)
    session.save(
        update_fields=[
            "tip",
            "prev",
            "prev2",
            "prev_retired_at",
            "last_used_at",
            "idle_expires_at",
        ]
    )
    return True


def _end(session: Session, now: datetime) -> None:
    session.revoked_at = now
    session.save(update_fields=["revoked_at"])
    if session.browser_key:
        BrowserSession.objects.filter(session_key=session.browser_key).delete()


def _tokens(session: Session, access_seconds: int, now: datetime) -> SessionTokens:
    access = _access_token(session, access_seconds, now)
    # The token is signed anew each time, so the database stores no token to steal. It
    # expires with the session's absolute limit. The row enforces the idle limit,
    # because a client may keep an old token.
    claims = _claims(session, session.tip, now, session.absolute_expires_at)
    refresh_token = jwt.sign(jwt.REFRESH, claims)
    return SessionTokens(session, access.text, refresh_token, access.expires_at)


def _access_token(
    session: Session, seconds: int, now: datetime, azp: str = ""
) -> AccessToken:
    expires_at = min(now + timedelta(seconds=seconds), session.absolute_expires_at)
    expires_at = expires_at.replace(microsecond=0)
    claims = _claims(session, uuid.uuid4(), now, expires_at)
    claims["amr"] = session.methods
    claims["auth_time"] = int(session.created_at.timestamp())
    claims |= {"azp": azp} if azp else {}
    return AccessToken(jwt.sign(jwt.ACCESS, claims), expires_at)


def _claims(
    session: Session, token_id: uuid.UUID | None, now: datetime, expires_at: datetime
) -> dict[str, object]:
    return {
        "sub": str(session.user_id),
        "sid": str(session.pk),
        "jti": str(token_id),
        "iat": int(now.timestamp()),
        "exp": int(expires_at.timestamp()),
    }


def _touch(session: Session, now: datetime) -> None:
    """Record the use, at most once in `TOUCH_AFTER`, without waiting for a lock."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE accounts_session SET last_used_at = %s, "
            "idle_expires_at = LEAST(%s, absolute_expires_at) WHERE id = "
            "(SELECT id FROM accounts_session WHERE id = %s AND last_used_at <= %s "
            "FOR NO KEY UPDATE SKIP LOCKED)",
            [now, now + IDLE, session.pk, now - TOUCH_AFTER],
        )
