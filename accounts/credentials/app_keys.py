"""Keys of partner apps (`sk-tool-…`): an app's own server signs in with one."""

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import LiteralString

from django.db import transaction
from django.utils import timezone

from accounts import audit, mails
from accounts.credentials import opaque, stored_secrets
from accounts.credentials.principals import AppInactive, KeyInactive
from accounts.models import App, AppKey
from accounts.models.apps import LIVE
from focus.database.statements import columns, instance
from focus.errors import NotFound


@dataclass(frozen=True, slots=True)
class IssuedAppKey:
    """A new key and its secret. We keep only a digest, so show the secret now."""

    key: AppKey
    secret: str = field(repr=False)


@transaction.atomic
def issue(
    *, app: App, name: str, expires_at: datetime | None = None, actor: str = ""
) -> IssuedAppKey:
    """Create a key for a partner's server and mail the app's owner."""
    issued = _create(app, name, expires_at)
    audit.record("app_key_issued", actor=actor, app=app.slug, key_id=str(issued.key.pk))
    _mail_owner(issued.key, "A new key can charge for your app", "was created")
    return issued


def find(*, secret: str) -> AppKey:
    """Return the usable key behind `secret`, its app loaded.

    One query, and none for a malformed secret. Raises `InvalidToken`, `TokenExpired`,
    `AppInactive` or `KeyInactive`.
    """
    found = stored_secrets.fetch(
        _FIND, secret=secret, prefix=opaque.APP_KEY, noun="key"
    )
    key, place = instance(AppKey, found)
    key.app, place = instance(App, found, place)
    stored_secrets.require_live(key, noun="key")
    if not found[place]:
        raise AppInactive("This app is inactive.")
    if not key.active:
        raise KeyInactive("This key is inactive.")
    stored_secrets.record_use(key)
    return key


@transaction.atomic
def rotate(*, key_id: uuid.UUID, overlap_seconds: int, actor: str = "") -> IssuedAppKey:
    """Replace a key by a successor with its name and expiry, and mail the app's owner.

    The old key works for `overlap_seconds` more, at most until its own expiry. Raises
    `InvalidLifetime` for an overlap that is not offered, `KeyNotUsable` for a key that
    is expired, revoked or replaced, and `NotFound`.
    """
    stored_secrets.check_overlap(overlap_seconds)
    old = _lock(key_id)
    now = timezone.now()
    stored_secrets.require_replaceable(old, noun="key", now=now)
    issued = _create(old.app, old.name, old.expires_at)
    ends = stored_secrets.replace(
        old, successor=issued.key, overlap_seconds=overlap_seconds, now=now
    )
    audit.record(
        "app_key_rotated",
        actor=actor,
        app=old.app.slug,
        key_id=str(old.pk),
        successor_id=str(issued.key.pk),
        overlap_seconds=overlap_seconds,
    )
    how = f"replaces {old}, which works until {ends:%Y-%m-%d %H:%M} UTC"
    _mail_owner(issued.key, "A key of your app was rotated", how)
    return issued


@transaction.atomic
def set_active(*, key_id: uuid.UUID, active: bool, actor: str = "") -> AppKey:
    """Switch a key off, or on again. A second call changes nothing."""
    key = _lock(key_id)
    if key.active != active:
        key.active = active
        key.save(update_fields=["active"])
        kind = "app_key_switched_on" if active else "app_key_switched_off"
        audit.record(kind, actor=actor, app=key.app.slug, key_id=str(key.pk))
    return key


@transaction.atomic
def revoke(*, key_id: uuid.UUID, actor: str = "") -> AppKey:
    """Revoke a key for ever. A second call changes nothing."""
    key = _lock(key_id)
    if key.revoked_at is None:
        key.revoked_at = timezone.now()
        key.save(update_fields=["revoked_at"])
        audit.record(
            "app_key_revoked", actor=actor, app=key.app.slug, key_id=str(key.pk)
        )
    return key


def _lock(key_id: uuid.UUID) -> AppKey:
    key = (
        AppKey.objects.select_for_update(no_key=True, of=("self",))
        .select_related("app")
        .filter(pk=key_id)
        .first()
    )
    if key is None:
        raise NotFound("There is no such key.")
    return key


def _create(app: App, name: str, expires_at: datetime | None) -> IssuedAppKey:
    secret = opaque.mint(opaque.APP_KEY)
    key = AppKey.objects.create(
        app=app,
        name=name,
        **stored_secrets.digest_columns(secret),
        created_at=timezone.now(),
        expires_at=expires_at,
    )
    return IssuedAppKey(key, secret.text)


def _mail_owner(key: AppKey, subject: str, how: str) -> None:
    if key.app.owner is not None:
        mails.write(
            user=key.app.owner,
            subject=subject,
            what=f"The key {key} of {key.app.slug} {how}. Anyone who has it can charge "
            "the users of your app.",
        )


_FIND: LiteralString = f"""
    SELECT {columns(AppKey, "k")}, {columns(App, "a")}, {LIVE}
    FROM accounts_appkey k JOIN accounts_app a ON a.id = k.app_id
    WHERE k.digest = %(digest)s
"""  # noqa: S608 — only our own text is put in
