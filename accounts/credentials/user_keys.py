"""A person's own API keys (`sk_live_…`): without scopes, for ClipForge's paths."""

import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import LiteralString

from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts import audit, mails
from accounts.audit import NO_VISITOR, Visitor
from accounts.credentials import networks, opaque, proofs
from accounts.credentials.principals import (
    InvalidToken,
    MalformedToken,
    TokenEnded,
    TokenExpired,
)
from accounts.models import User, UserKey
from focus.database.statements import columns, instance, tuples
from focus.errors import DomainError, NotFound

DAYS_MAX = 3650
TOUCH_AFTER = timedelta(seconds=60)


class InvalidLifetime(DomainError):
    code = "invalid_lifetime"


@dataclass(frozen=True, slots=True)
class IssuedUserKey:
    """A new key and its secret, which can be shown this once."""

    key: UserKey
    secret: str = field(repr=False)


@transaction.atomic
def issue(
    *, user: User, name: str, days: int | None = None, visitor: Visitor = NO_VISITOR
) -> IssuedUserKey:
    """Make a key that acts as `user`, for `days` or until it is revoked."""
    if days is not None and not 1 <= days <= DAYS_MAX:
        raise InvalidLifetime(f"A key lives 1 to {DAYS_MAX} days.")
    proofs.hold(user=user)
    secret, now = opaque.mint(opaque.USER_KEY), timezone.now()
    key = UserKey.objects.create(
        user=user,
        name=name,
        digest=secret.digest,
        prefix=secret.prefix,
        last4=secret.last4,
        created_at=now,
        expires_at=None if days is None else now + timedelta(days=days),
        networks=networks.first(visitor),
    )
    audit.record(
        "user_key_issued", user=user, visitor=visitor, key_id=str(key.pk), name=name
    )
    mails.write(
        user=user,
        subject="A new API key can use your account",
        what=f"The API key {key} was created. Anyone who has it can use your account "
        "until you revoke it.",
        visitor=visitor,
    )
    return IssuedUserKey(key, secret.text)


def find(*, secret: str, visitor: Visitor = NO_VISITOR) -> UserKey:
    """The live key behind `secret`, its person loaded: one query, none if misspelled.

    Raises `InvalidToken` or `TokenExpired`.
    """
    if not opaque.is_well_formed(secret, prefix=opaque.USER_KEY):
        raise MalformedToken("The API key is invalid.")
    found = tuples(_FIND, {"digest": opaque.digest(secret)})
    if not found:
        raise InvalidToken("The API key is invalid.")
    key, place = instance(UserKey, found[0])
    key.user, _ = instance(User, found[0], place)
    if key.revoked_at or not key.user.is_active:
        raise TokenEnded("The API key is invalid.")
    now = timezone.now()
    if key.expires_at is not None and key.expires_at <= now:
        raise TokenExpired("The API key has expired.")
    if key.last_used_at is None or now - key.last_used_at >= TOUCH_AFTER:
        with connection.cursor() as cursor:
            cursor.execute(_TOUCH, [now, key.pk, now - TOUCH_AFTER])
    networks.note(row=key, visitor=visitor)
    return key


def live(*, user: User) -> QuerySet[UserKey]:
    """The keys of `user` that still work, newest first."""
    lasts = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    keys = UserKey.objects.filter(lasts, user=user, revoked_at=None)
    return keys.order_by("-created_at", "-id")


@transaction.atomic
def revoke(
    *, user: User, key_id: uuid.UUID, actor: str = "", visitor: Visitor = NO_VISITOR
) -> UserKey:
    """End one of `user`'s own keys, at once and for ever. Twice is once.

    Raises `NotFound` for an id that is not theirs.
    """
    key = (
        UserKey.objects.select_for_update(no_key=True)
        .filter(pk=key_id, user=user)
        .first()
    )
    if key is None:
        raise NotFound("There is no such key.")
    if key.revoked_at is None:
        key.revoked_at = timezone.now()
        key.save(update_fields=["revoked_at"])
        audit.record(
            "user_key_revoked",
            user=user,
            actor=actor,
            visitor=visitor,
            key_id=str(key.pk),
        )
    return key


_FIND: LiteralString = f"""
    SELECT {columns(UserKey, "k")}, {columns(User, "u")}
    FROM accounts_userkey k JOIN accounts_user u ON u.id = k.user_id
    WHERE k.digest = %(digest)s
"""  # noqa: S608 — only column names are put in
# At most once a minute, and never waiting for a request that notes the same.
_TOUCH = """
UPDATE accounts_userkey SET last_used_at = %s WHERE id = (
    SELECT id FROM accounts_userkey
    WHERE id = %s AND (last_used_at IS NULL OR last_used_at <= %s)
    FOR NO KEY UPDATE SKIP LOCKED)
"""
