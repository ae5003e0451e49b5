"""What the rows of access tokens, app keys and user keys share.

Such a row keeps a digest of its secret and never the secret. These functions mint the
secret, look it up, record its last use, revoke the row and replace it by a successor.
`tokens`, `app_keys` and `user_keys` are the modules for callers.
"""

import uuid
from datetime import datetime, timedelta
from typing import Any, LiteralString, TypeVar

from django.db import connection
from django.utils import timezone

from accounts import audit
from accounts.audit import Visitor
from accounts.credentials import networks, opaque
from accounts.credentials.principals import (
    InvalidToken,
    MalformedToken,
    TokenEnded,
    TokenExpired,
)
from accounts.models import AppKey, PersonalAccessToken, User, UserKey
from focus.database.statements import columns, instance, tuples
from focus.errors import DomainError, NotFound

# For how long a rotated secret may work beside its successor.
OVERLAPS_SECONDS = (0, 60, 900, 3600, 6 * 3600, 24 * 3600)
TOUCH_AFTER = timedelta(seconds=60)

StoredSecret = PersonalAccessToken | AppKey | UserKey
UserSecret = TypeVar("UserSecret", PersonalAccessToken, UserKey)


class InvalidLifetime(DomainError):
    """The requested lifetime, or the overlap of a rotation, is not offered."""

    code = "invalid_lifetime"


class KeyNotUsable(DomainError):
    """The secret is expired, revoked or already replaced, so it gets no successor."""

    code = "key_not_usable"


def digest_columns(secret: opaque.Secret) -> dict[str, Any]:
    """Return the column values of a new row that recognise and display `secret`."""
    return {"digest": secret.digest, "prefix": secret.prefix, "last4": secret.last4}


def check_days(days: int, *, longest: int, noun: str) -> None:
    """Raise `InvalidLifetime` unless `days` is between 1 and `longest`."""
    if not 1 <= days <= longest:
        raise InvalidLifetime(f"{noun} lives 1 to {longest} days.")


def check_overlap(seconds: int) -> None:
    """Raise `InvalidLifetime` unless `seconds` is one of `OVERLAPS_SECONDS`."""
    if seconds not in OVERLAPS_SECONDS:
        offered = ", ".join(map(str, OVERLAPS_SECONDS))
        raise InvalidLifetime(f"The overlap is one of {offered} seconds.")


def fetch(
    statement: LiteralString, *, secret: str, prefix: str, noun: str
) -> tuple[Any, ...]:
    """Return the row that `statement` selects by the digest of `secret`.

    One query, and none for a malformed secret. Raises `MalformedToken` or
    `InvalidToken`.
    """
    if not opaque.is_well_formed(secret, prefix=prefix):
        raise MalformedToken(f"The {noun} is invalid.")
    found = tuples(statement, {"digest": opaque.digest(secret)})
    if not found:
        raise InvalidToken(f"The {noun} is invalid.")
    return found[0]


def require_live(row: StoredSecret, *, noun: str, owner_is_active: bool = True) -> None:
    """Raise `TokenEnded` or `TokenExpired` unless `row` can be used now."""
    if row.revoked_at or not owner_is_active:
        raise TokenEnded(f"The {noun} is invalid.")
    if row.expires_at is not None and row.expires_at <= timezone.now():
        raise TokenExpired(f"The {noun} has expired.")


def find_of_user(
    model: type[UserSecret],
    statement: LiteralString,
    *,
    secret: str,
    prefix: str,
    noun: str,
    visitor: Visitor,
) -> UserSecret:
    """Return the live token or key of a user behind `secret`, its user loaded.

    `statement` selects the columns of `model` and then those of `User`. One query;
    recording a use or a new network takes more. Raises as `fetch` and `require_live`.
    """
    found = fetch(statement, secret=secret, prefix=prefix, noun=noun)
    row, place = instance(model, found)
    row.user, _ = instance(User, found, place)
    require_live(row, noun=noun, owner_is_active=row.user.is_active)
    record_use(row)
    networks.record_network(row=row, visitor=visitor)
    return row


def record_use(row: StoredSecret) -> None:
    """Set `last_used_at` to now, at most once in `TOUCH_AFTER`, without waiting.

    Many requests use a busy key at once. The first of them locks the row and writes;
    the others skip the locked row.
    """
    now = timezone.now()
    if row.last_used_at is None or now - row.last_used_at >= TOUCH_AFTER:
        with connection.cursor() as cursor:
            cursor.execute(_RECORD_USE[type(row)], [now, row.pk, now - TOUCH_AFTER])


def revoke_of_user(
    model: type[UserSecret],
    *,
    user: User,
    row_id: uuid.UUID,
    noun: str,
    kind: str,
    fact: str,
    actor: str,
    visitor: Visitor,
) -> UserSecret:
    """Revoke a token or key of `user` and record it in the audit as `kind`.

    A second call changes nothing. Locks the row; call it in a transaction. Raises
    `NotFound` for an id that is not the user's.
    """
    row = lock_of_user(model, user=user, row_id=row_id, noun=noun)
    if row.revoked_at is None:
        row.revoked_at = timezone.now()
        row.save(update_fields=["revoked_at"])
        facts = {fact: str(row.pk)}
        audit.record(kind, user=user, actor=actor, visitor=visitor, **facts)
    return row


def lock_of_user(
    model: type[UserSecret], *, user: User, row_id: uuid.UUID, noun: str
) -> UserSecret:
    """Return a token or key of `user`, locked. Raises `NotFound` for any other id."""
    rows = model.objects.select_for_update(no_key=True)
    row = rows.filter(pk=row_id, user=user).first()
    if row is None:
        raise NotFound(f"There is no such {noun}.")
    return row


def require_replaceable(
    row: PersonalAccessToken | AppKey, *, noun: str, now: datetime
) -> None:
    """Raise `KeyNotUsable` for a locked row that may not get a successor.

    Of two rotations at once, the second one waits for the lock and finds the successor
    of the first, so only one successor is made.
    """
    ends = row.expires_at
    if row.revoked_at or row.replaced_by_id or (ends is not None and ends <= now):
        raise KeyNotUsable(f"This {noun} is expired, revoked or already replaced.")


def replace(
    row: PersonalAccessToken | AppKey,
    *,
    successor: PersonalAccessToken | AppKey,
    overlap_seconds: int,
    now: datetime,
) -> datetime:
    """Link `row` to its successor and return when `row` stops working.

    That is `overlap_seconds` from `now`, or its own expiry if that is sooner.
    """
    ends = now + timedelta(seconds=overlap_seconds)
    if row.expires_at is not None:
        ends = min(row.expires_at, ends)
    row.replaced_by, row.expires_at = successor, ends
    row.save(update_fields=["replaced_by", "expires_at"])
    return ends


def user_statement(model: type[UserSecret], table: LiteralString) -> LiteralString:
    """Return the SELECT that `find_of_user` needs for `model` and its `table`."""
    return f"""
    SELECT {columns(model, "s")}, {columns(User, "u")}
    FROM {table} s JOIN accounts_user u ON u.id = s.user_id
    WHERE s.digest = %(digest)s
"""  # noqa: S608 — only names of columns and of our own table are put in


def _record_use(table: LiteralString) -> LiteralString:
    return f"""
UPDATE {table} SET last_used_at = %s WHERE id = (
    SELECT id FROM {table}
    WHERE id = %s AND (last_used_at IS NULL OR last_used_at <= %s)
    FOR NO KEY UPDATE SKIP LOCKED)
"""  # noqa: S608 — only the name of our own table is put in


_RECORD_USE: dict[type[StoredSecret], LiteralString] = {
    PersonalAccessToken: _record_use("accounts_personalaccesstoken"),
    AppKey: _record_use("accounts_appkey"),
    UserKey: _record_use("accounts_userkey"),
}
