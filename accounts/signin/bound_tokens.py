"""Bound credentials: those that an app holds, and the app that each is bound to.

There are three kinds: our own JWT with an `azp`, a Clerk JWT with an app's origin as
`azp`, and a cookie that a browser sends with an app's `Origin`. A bound credential is
valid only for that app's part of the account. It is not valid while the app is inactive
or the user has revoked the app's permission.
"""

import uuid
from datetime import timedelta
from typing import Any, LiteralString

from django.utils import timezone

from accounts.audit import Visitor
from accounts.credentials.principals import AppInactive, TokenEnded
from accounts.models import App, Session, User
from accounts.models.apps import LIVE
from accounts.partners import origins
from accounts.partners.consents import AppNotGranted
from accounts.signin import sessions
from accounts.signin.sessions import AccessToken
from focus.database.statements import columns, instance, tuples

# The life of the session that carries an app's tokens after a sign-in by Clerk.
CLERKS = timedelta(minutes=30)


def require_permitted(app: App, *, live: bool, revoked: bool) -> App:
    """Return `app` if it may act. Raises `AppInactive` or `AppNotGranted`."""
    if not live:
        raise AppInactive("This app is inactive.")
    if revoked:
        raise AppNotGranted(
            "You took this app's permission back. Sign in to it through Focus to allow "
            "it again."
        )
    return app


def find(*, session_id: uuid.UUID, app: str) -> tuple[Session, App]:
    """Return the live session of a bound JWT and the app with this slug. One query.

    Raises as `sessions.find` and `require_permitted`; `TokenEnded` for an unknown app.
    """
    found = tuples(_FIND, {"session": session_id, "app": app})
    if not found:
        raise TokenEnded("The token is invalid.")
    session, place = instance(Session, found[0])
    session.user, place = instance(User, found[0], place)
    bound, place = instance(App, found[0], place)
    living = sessions.require_live(session, timezone.now())
    return living, require_permitted(
        bound, live=found[0][place], revoked=found[0][place + 1]
    )


_FIND: LiteralString = f"""
    SELECT {columns(Session, "s")}, {columns(User, "u")}, {columns(App, "a")},
      {LIVE}, c.revoked_at IS NOT NULL
    FROM accounts_session s
    JOIN accounts_user u ON u.id = s.user_id
    JOIN accounts_app a ON a.slug = %(app)s
    LEFT JOIN accounts_consent c ON c.user_id = u.id AND c.app_id = a.id
    WHERE s.id = %(session)s
"""  # noqa: S608 — only our own text is put in


def app_by_origin(*, origin: str, user: User) -> App | None:
    """Return the live app that registered this origin, None for an unknown origin.

    One query. Raises `AppNotGranted` if `user` revoked the app's permission.
    """
    if origins.origin_of(origin) != origin:
        return None
    found = tuples(_BY_ORIGIN, {"origin": [origin], "user": user.pk})
    if not found:
        return None
    app, place = instance(App, found[0])
    return require_permitted(app, live=True, revoked=found[0][place])


_BY_ORIGIN: LiteralString = f"""
    SELECT {columns(App, "a")}, c.revoked_at IS NOT NULL
    FROM accounts_app a
    LEFT JOIN accounts_consent c ON c.user_id = %(user)s AND c.app_id = a.id
    WHERE {LIVE} AND a.origins @> %(origin)s::varchar[]
"""  # noqa: S608 — only our own text is put in


def issue_clerk_token(
    *, user: User, app: App, seconds: int, visitor: Visitor
) -> AccessToken:
    """Return a token for an app, for a user that Clerk signed in on our page.

    Clerk's own token is bound to no app, so the app gets one of ours. A session of
    `CLERKS` carries it; a second request reuses that session.
    """
    now = timezone.now()
    about: dict[str, Any] = {"user": user, "client": app.slug, "methods": ["clerk"]}
    session = (
        sessions.live(user=user)
        .filter(**about, absolute_expires_at__gt=now + timedelta(seconds=seconds))
        .first()
    )
    if session is None:
        session = sessions.begin(**about, access_seconds=0, visitor=visitor).session
        session.absolute_expires_at = now + CLERKS
        session.save(update_fields=["absolute_expires_at"])
    return sessions.access_token(session=session, seconds=seconds, azp=app.slug)
