"""Long-lived secrets: a person's access tokens and a partner app's keys."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import LiteralString

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts import audit, mails
from accounts.audit import NO_VISITOR, Visitor
from accounts.credentials import networks, opaque, proofs
from accounts.credentials.principals import (
    AppInactive,
    InvalidToken,
    KeyInactive,
    MalformedToken,
    TokenEnded,
    TokenExpired,
)
from accounts.models import App, AppKey, PersonalAccessToken, User
from accounts.models.apps import LIVE
from focus.database.statements import columns, instance, tuples
from focus.errors import DomainError, NotFound

# Guide 0: "PATs are valid ~90 days".
TOKEN_DAYS = 90
TOKEN_DAYS_MAX = 366
# How long a rotated key may go on beside its successor.
OVERLAPS_SECONDS = (0, 60, 900, 3600, 6 * 3600, 24 * 3600)
TOUCH_AFTER = timedelta(seconds=60)


class InvalidLifetime(DomainError):
    code = "invalid_lifetime"


class KeyNotUsable(DomainError):
    """The key is expired, revoked or already replaced, so it has no successor."""

    code = "key_not_usable"


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token and its secret, which can be shown this once."""

    token: PersonalAccessToken
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new app key and its secret, which can be shown this once."""

    key: AppKey
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
    """Make a personal access token. Its lifetime is honoured or refused."""
    if not 1 <= days <= TOKEN_DAYS_MAX:
        raise InvalidLifetime(f"A token lives 1 to {TOKEN_DAYS_MAX} days.")
    proofs.hold(user=user)
    secret, now = opaque.mint(opaque.PAT), timezone.now()
    token = PersonalAccessToken.objects.create(
        user=user,
        name=name,
        digest=secret.digest,
        prefix=secret.prefix,
        last4=secret.last4,
        scopes=list(scopes),
        created_at=now,
        expires_at=now + timedelta(days=days),
        networks=networks.first(visitor),
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
    """The live token behind `secret`, its person loaded: one query, none if misspelled.

    Raises `InvalidToken` or `TokenExpired`.
    """
    if not opaque.is_well_formed(secret, prefix=opaque.PAT):
        raise MalformedToken("The token is invalid.")
    found = tuples(_FIND_PAT, {"digest": opaque.digest(secret)})
    if not found:
        raise InvalidToken("The token is invalid.")
    token, place = instance(PersonalAccessToken, found[0])
    token.user, _ = instance(User, found[0], place)
    if token.revoked_at or not token.user.is_active:
        raise TokenEnded("The token is invalid.")
    now = timezone.now()
    if token.expires_at <= now:
        raise TokenExpired("The token has expired.")
    _touch(_TOUCH_PAT, token.pk, token.last_used_at, now)
    networks.note(row=token, visitor=visitor)
    return token


def live(*, user: User) -> QuerySet[PersonalAccessToken]:
    """The tokens of `user` that still work, newest first."""
    return PersonalAccessToken.objects.filter(
        user=user, revoked_at=None, expires_at__gt=timezone.now()
    ).order_by("-created_at", "-id")


@transaction.atomic
def revoke(
    *, user: User, token_id: uuid.UUID, actor: str = "", visitor: Visitor = NO_VISITOR
) -> PersonalAccessToken:
    """End one of `user`'s own tokens, at once and for ever. Twice is once.

    Raises `NotFound` for an id that is not theirs.
    """
    token = (
        PersonalAccessToken.objects.select_for_update(no_key=True)
        .filter(pk=token_id, user=user)
        .first()
    )
    if token is None:
        raise NotFound("There is no such token.")
    if token.revoked_at is None:
        token.revoked_at = timezone.now()
        token.save(update_fields=["revoked_at"])
        audit.record(
            "token_revoked",
            user=user,
            actor=actor,
            visitor=visitor,
            token_id=str(token.pk),
        )
    return token


@transaction.atomic
def rotate(
    *,
    user: User,
    token_id: uuid.UUID,
    overlap_seconds: int = 0,
    visitor: Visitor = NO_VISITOR,
) -> IssuedToken:
    """Give a token a successor of its name, scopes and lifetime, and the old one
    `overlap_seconds` to live.

    Raises as `rotate_app_key` does, and `NotFound` for an id that is not theirs.
    """
    _check_overlap(overlap_seconds)
    # The account before its tokens, as whatever ends them all locks them.
    proofs.hold(user=user)
    old = (
        PersonalAccessToken.objects.select_for_update(no_key=True)
        .filter(pk=token_id, user=user)
        .first()
    )
    if old is None:
        raise NotFound("There is no such token.")
    now = timezone.now()
    if old.revoked_at or old.replaced_by_id or old.expires_at <= now:
        raise KeyNotUsable("This token is expired, revoked or already replaced.")
    days = (old.expires_at - old.created_at).days
    issued = issue(
        user=user, name=old.name, scopes=old.scopes, days=days, visitor=visitor
    )
    # It is used from where the old one was.
    known = {*networks.first(visitor), *(old.networks or ())}
    issued.token.networks = sorted(known)
    issued.token.save(update_fields=["networks"])
    old.replaced_by = issued.token
    old.expires_at = min(old.expires_at, now + timedelta(seconds=overlap_seconds))
    old.save(update_fields=["replaced_by", "expires_at"])
    audit.record(
        "token_rotated",
        user=user,
        visitor=visitor,
        token_id=str(old.pk),
        successor_id=str(issued.token.pk),
        overlap_seconds=overlap_seconds,
    )
    return issued


@transaction.atomic
def issue_app_key(
    *, app: App, name: str, expires_at: datetime | None = None, actor: str = ""
) -> IssuedKey:
    """Make a key for a partner's server. The app's owner is told by mail."""
    issued = _make_key(app, name, expires_at)
    audit.record("app_key_issued", actor=actor, app=app.slug, key_id=str(issued.key.pk))
    _tell_owner(issued.key, "A new key can charge for your app", "was created")
    return issued


def find_app_key(*, secret: str) -> AppKey:
    """The usable key behind `secret`, its app loaded: one query, none if misspelled.

    Raises `InvalidToken`, `TokenExpired`, `AppInactive` or `KeyInactive`.
    """
    if not opaque.is_well_formed(secret, prefix=opaque.APP_KEY):
        raise MalformedToken("The key is invalid.")
    found = tuples(_FIND_KEY, {"digest": opaque.digest(secret)})
    if not found:
        raise InvalidToken("The key is invalid.")
    key, place = instance(AppKey, found[0])
    key.app, place = instance(App, found[0], place)
    if key.revoked_at:
        raise TokenEnded("The key is invalid.")
    now = timezone.now()
    if key.expires_at is not None and key.expires_at <= now:
        raise TokenExpired("The key has expired.")
    if not found[0][place]:
        raise AppInactive("This app is inactive.")
    if not key.active:
        raise KeyInactive("This key is inactive.")
    _touch(_TOUCH_KEY, key.pk, key.last_used_at, now)
    return key


@transaction.atomic
def rotate_app_key(
    *, key_id: uuid.UUID, overlap_seconds: int, actor: str = ""
) -> IssuedKey:
    """Give a key a successor of its name, and the old one `overlap_seconds` to live.

    Raises `InvalidLifetime` for an overlap that is not offered, `KeyNotUsable` for a
    key that is expired, revoked or already has its successor.
    """
    _check_overlap(overlap_seconds)
    # Looked at again under the lock: of two clicks only one makes a key.
    old = _locked_key(key_id)
    now = timezone.now()
    ends = old.expires_at
    if old.revoked_at or old.replaced_by_id or (ends is not None and ends <= now):
        raise KeyNotUsable("This key is expired, revoked or already replaced.")
    issued = _make_key(old.app, old.name, ends)
    old.replaced_by = issued.key
    old.expires_at = now + timedelta(seconds=overlap_seconds)
    if ends is not None:
        old.expires_at = min(ends, old.expires_at)
    old.save(update_fields=["replaced_by", "expires_at"])
    audit.record(
        "app_key_rotated",
        actor=actor,
        app=old.app.slug,
        key_id=str(old.pk),
        successor_id=str(issued.key.pk),
        overlap_seconds=overlap_seconds,
    )
    until = f"{old.expires_at:%Y-%m-%d %H:%M} UTC"
    how = f"replaces {old}, which works until {until}"
    _tell_owner(issued.key, "A key of your app was rotated", how)
    return issued


@transaction.atomic
def switch_app_key(*, key_id: uuid.UUID, active: bool, actor: str = "") -> AppKey:
    """Switch a key off, or on again. Twice is once."""
    key = _locked_key(key_id)
    if key.active != active:
        key.active = active
        key.save(update_fields=["active"])
        kind = "app_key_switched_on" if active else "app_key_switched_off"
        audit.record(kind, actor=actor, app=key.app.slug, key_id=str(key.pk))
    return key


@transaction.atomic
def revoke_app_key(*, key_id: uuid.UUID, actor: str = "") -> AppKey:
    """End a key at once and for ever. Twice is once."""
    key = _locked_key(key_id)
    if key.revoked_at is None:
        key.revoked_at = timezone.now()
        key.save(update_fields=["revoked_at"])
        audit.record(
            "app_key_revoked", actor=actor, app=key.app.slug, key_id=str(key.pk)
        )
    return key


def _check_overlap(seconds: int) -> None:
    if seconds not in OVERLAPS_SECONDS:
        offered = ", ".join(map(str, OVERLAPS_SECONDS))
        raise InvalidLifetime(f"The overlap is one of {offered} seconds.")


def _locked_key(key_id: uuid.UUID) -> AppKey:
    key = (
        AppKey.objects.select_for_update(no_key=True, of=("self",))
        .select_related("app")
        .filter(pk=key_id)
        .first()
    )
    if key is None:
        raise NotFound("There is no such key.")
    return key


def _make_key(app: App, name: str, expires_at: datetime | None) -> IssuedKey:
    secret = opaque.mint(opaque.APP_KEY)
    key = AppKey.objects.create(
        app=app,
        name=name,
        digest=secret.digest,
        prefix=secret.prefix,
        last4=secret.last4,
        created_at=timezone.now(),
        expires_at=expires_at,
    )
    return IssuedKey(key, secret.text)


def _tell_owner(key: AppKey, subject: str, how: str) -> None:
    if key.app.owner is not None:
        mails.write(
            user=key.app.owner,
            subject=subject,
            what=f"The key {key} of {key.app.slug} {how}. Anyone who has it can charge "
            "the users of your app.",
        )


def _touch(
    statement: LiteralString,
    row_id: uuid.UUID,
    last_used_at: datetime | None,
    now: datetime,
) -> None:
    if last_used_at is None or now - last_used_at >= TOUCH_AFTER:
        with connection.cursor() as cursor:
            cursor.execute(statement, [now, row_id, now - TOUCH_AFTER])


_FIND_PAT: LiteralString = f"""
    SELECT {columns(PersonalAccessToken, "t")}, {columns(User, "u")}
    FROM accounts_personalaccesstoken t JOIN accounts_user u ON u.id = t.user_id
    WHERE t.digest = %(digest)s
"""  # noqa: S608 — only column names are put in
_FIND_KEY: LiteralString = f"""
    SELECT {columns(AppKey, "k")}, {columns(App, "a")}, {LIVE}
    FROM accounts_appkey k JOIN accounts_app a ON a.id = k.app_id
    WHERE k.digest = %(digest)s
"""  # noqa: S608 — only our own text is put in
# At most once a minute, and never waiting: a busy key is used by many requests at once,
# and the first of them writes for all.
_TOUCH_PAT = """
UPDATE accounts_personalaccesstoken SET last_used_at = %s WHERE id = (
    SELECT id FROM accounts_personalaccesstoken
    WHERE id = %s AND (last_used_at IS NULL OR last_used_at <= %s)
    FOR NO KEY UPDATE SKIP LOCKED)
"""
_TOUCH_KEY = """
UPDATE accounts_appkey SET last_used_at = %s WHERE id = (
    SELECT id FROM accounts_appkey
    WHERE id = %s AND (last_used_at IS NULL OR last_used_at <= %s)
    FOR NO KEY UPDATE SKIP LOCKED)
"""
