"""A user's own API keys (`sk_live_…`): without scopes, for ClipForge's paths."""

import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import LiteralString

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts import audit, mails
from accounts.audit import NO_VISITOR, Visitor
from accounts.credentials import networks, opaque, proofs, stored_secrets
from accounts.models import User, UserKey

DAYS_MAX = 3650


@dataclass(frozen=True, slots=True)
class IssuedUserKey:
    """A new key and its secret. We keep only a digest, so show the secret now."""

    key: UserKey
    secret: str = field(repr=False)


@transaction.atomic
def issue(
    *, user: User, name: str, days: int | None = None, visitor: Visitor = NO_VISITOR
) -> IssuedUserKey:
    """Create a key that acts as `user` for `days`, or until it is revoked if None.

    Mails the user. Locks the account. Raises `InvalidLifetime`, and `TokenEnded` if
    all sign-ins of the account were ended since `user` was read.
    """
    if days is not None:
        stored_secrets.check_days(days, longest=DAYS_MAX, noun="A key")
    proofs.lock_account(user=user)
    secret, now = opaque.mint(opaque.USER_KEY), timezone.now()
    key = UserKey.objects.create(
        user=user,
        name=name,
        **stored_secrets.digest_columns(secret),
        created_at=now,
        expires_at=None if days is None else now + timedelta(days=days),
        networks=networks.initial_networks(visitor),
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
    """Return the live key behind `secret`, its user loaded.

    One query, and none for a malformed secret. Raises `InvalidToken` (unknown,
    malformed or revoked) or `TokenExpired`.
    """
    return stored_secrets.find_of_user(
        UserKey,
        _FIND,
        secret=secret,
        prefix=opaque.USER_KEY,
        noun="API key",
        visitor=visitor,
    )


def live(*, user: User) -> QuerySet[UserKey]:
    """Return the unexpired, unrevoked keys of `user`, newest first."""
    lasts = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    keys = UserKey.objects.filter(lasts, user=user, revoked_at=None)
    return keys.order_by("-created_at", "-id")


@transaction.atomic
def revoke(
    *, user: User, key_id: uuid.UUID, actor: str = "", visitor: Visitor = NO_VISITOR
) -> UserKey:
    """Revoke one of the user's own keys for ever. A second call changes nothing.

    Raises `NotFound` for an id that is not the user's.
    """
    return stored_secrets.revoke_of_user(
        UserKey,
        user=user,
        row_id=key_id,
        noun="key",
        kind="user_key_revoked",
        fact="key_id",
        actor=actor,
        visitor=visitor,
    )


_FIND: LiteralString = stored_secrets.user_statement(UserKey, "accounts_userkey")
