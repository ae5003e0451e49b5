"""Personal access tokens: long-lived secrets of a user, limited to scopes."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import LiteralString

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts import audit, mails
from accounts.audit import NO_VISITOR, Visitor
from accounts.credentials import networks, opaque, proofs, stored_secrets
from accounts.models import PersonalAccessToken, User

# Guide 0: "PATs are valid ~90 days".
TOKEN_DAYS = 90
TOKEN_DAYS_MAX = 366


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token and its secret. We keep only a digest, so show the secret now."""

    token: PersonalAccessToken
    secret: str = field(repr=False)


@transaction.atomic
def issue(
    *,
    user: User,
    name: str,
    scopes: Sequence[str],
    days: int = TOKEN_DAYS,
    visitor: Visitor = NO_VISITOR,
) -> IssuedToken:
    """Create a personal access token that expires after exactly `days`.

    Mails the user. Locks the account. Raises `InvalidLifetime`, and `TokenEnded` if
    all sign-ins of the account were ended since `user` was read.
    """
    stored_secrets.check_days(days, longest=TOKEN_DAYS_MAX, noun="A token")
    proofs.lock_account(user=user)
    secret, now = opaque.mint(opaque.PAT), timezone.now()
    token = PersonalAccessToken.objects.create(
        user=user,
        name=name,
        **stored_secrets.digest_columns(secret),
        scopes=list(scopes),
        created_at=now,
        expires_at=now + timedelta(days=days),
        networks=networks.initial_networks(visitor),
    )
    audit.record(
        "token_issued",
        user=user,
        visitor=visitor,
        token_id=str(token.pk),
        name=name,
        scopes=list(scopes),
    )
    mails.write(
        user=user,
        subject="A new access token can use your account",
        what=f"The access token {token} was created. Anyone who has it can use your "
        f"account until {token.expires_at:%Y-%m-%d}.",
        visitor=visitor,
    )
    return IssuedToken(token, secret.text)


def find(*, secret: str, visitor: Visitor = NO_VISITOR) -> PersonalAccessToken:
    """Return the live token behind `secret`, its user loaded.

    One query, and none for a malformed secret. Raises `InvalidToken` (unknown,
    malformed or revoked) or `TokenExpired`.
    """
    return stored_secrets.find_of_user(
        PersonalAccessToken,
        _FIND,
        secret=secret,
        prefix=opaque.PAT,
        noun="token",
        visitor=visitor,
    )


def live(*, user: User) -> QuerySet[PersonalAccessToken]:
    """Return the unexpired, unrevoked tokens of `user`, newest first."""
    return PersonalAccessToken.objects.filter(
        user=user, revoked_at=None, expires_at__gt=timezone.now()
    ).order_by("-created_at", "-id")


@transaction.atomic
def revoke(
    *, user: User, token_id: uuid.UUID, actor: str = "", visitor: Visitor = NO_VISITOR
) -> PersonalAccessToken:
    """Revoke one of the user's own tokens for ever. A second call changes nothing.

    Raises `NotFound` for an id that is not the user's.
    """
    return stored_secrets.revoke_of_user(
        PersonalAccessToken,
        user=user,
        row_id=token_id,
        noun="token",
        kind="token_revoked",
        fact="token_id",
        actor=actor,
        visitor=visitor,
    )


@transaction.atomic
def rotate(
    *,
    user: User,
    token_id: uuid.UUID,
    overlap_seconds: int = 0,
    visitor: Visitor = NO_VISITOR,
) -> IssuedToken:
    """Replace a token by a successor with its name, scopes and lifetime.

    The old token works for `overlap_seconds` more, at most until its own expiry.
    Raises:

    * `InvalidLifetime` for an overlap that is not offered.
    * `KeyNotUsable` for a token that is expired, revoked or replaced.
    * `NotFound` for an id that is not the user's.
    """
    stored_secrets.check_overlap(overlap_seconds)
    # Lock the account before its tokens: code that revokes all of them does the same,
    # so the two cannot deadlock.
    proofs.lock_account(user=user)
    old = stored_secrets.lock_of_user(
        PersonalAccessToken, user=user, row_id=token_id, noun="token"
    )
    now = timezone.now()
    stored_secrets.require_replaceable(old, noun="token", now=now)
    days = (old.expires_at - old.created_at).days
    issued = issue(
        user=user, name=old.name, scopes=old.scopes, days=days, visitor=visitor
    )
    # The successor inherits the known networks, so its use there sends no mail.
    known = {*networks.initial_networks(visitor), *(old.networks or ())}
    issued.token.networks = sorted(known)
    issued.token.save(update_fields=["networks"])
    stored_secrets.replace(
        old, successor=issued.token, overlap_seconds=overlap_seconds, now=now
    )
    audit.record(
        "token_rotated",
        user=user,
        visitor=visitor,
        token_id=str(old.pk),
        successor_id=str(issued.token.pk),
        overlap_seconds=overlap_seconds,
    )
    return issued


_FIND: LiteralString = stored_secrets.user_statement(
    PersonalAccessToken, "accounts_personalaccesstoken"
)
