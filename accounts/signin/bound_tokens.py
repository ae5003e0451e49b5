"""Credentials that were handed to an app, and the app that each is bound to.

A bound credential is our own JWT with an `azp`, a Clerk JWT whose `azp` is an app's
origin, or a browser's cookie that comes with an app's `Origin`. It carries no more than
that app's part of the account, and nothing while the app is inactive or the person has
taken the app's permission back.
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

# A sign-in by Clerk's cookie, kept so that an app's tokens die with it.
CLERKS = timedelta(minutes=30)


def require_permitted(app: App, *, live: bool, revoked: bool) -> App:
    """`app` while it may act at all: raises `AppInactive` or `AppNotGranted`."""
    if not live:
        raise AppInactive("This app is inactive.")
    if revoked:
        raise AppNotGranted(
            "You took this app's permission back. Sign in to it through Focus to allow "
            "it again."
        )
    return app


def find(*, session_id: uuid.UUID, app: str) -> tuple[Session, App]:
    """The live session behind a bound JWT, and the app with this slug: one query.

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
    """The live app whose pages have this origin, None for an unknown one.

    One query. Raises `AppNotGranted` where `user` took its permission back.
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
    """A token for an app whose person Clerk signed in at a page of ours.

    Clerk's own token would be bound to no app. A sign-in of half an hour carries ours,
    and an app that asks again gets a token of the same one.
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
