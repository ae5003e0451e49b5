"""Tokens and keys that will stop working soon: whoever depends on one is told once.

A row is looked at while it has not been told of; telling it marks it, in the one
transaction that writes the letter.
"""

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from accounts import mails
from accounts.models import AppKey, PersonalAccessToken, UserKey

BEFORE = timedelta(days=7)


def warn_due(*, limit: int = 1000) -> int:
    """Write the letters about what ends within a week. Returns how many were written.

    None about what was made to live no longer than that, is replaced already, or
    belongs to nobody whose account is open.
    """
    return sum(_warn(model, limit) for model in (PersonalAccessToken, UserKey, AppKey))


def _warn(model: type[Any], limit: int) -> int:
    for told in range(limit):
        if not _warn_next(model, timezone.now()):
            return told
    return limit


@transaction.atomic
def _warn_next(model: type[Any], now: datetime) -> bool:
    row = _ending(model, now).first()
    if row is None:
        return False
    row.expiry_mailed_at = now
    row.save(update_fields=["expiry_mailed_at"])
    owner, words, what = _about(row)
    mails.remind(
        user=owner,
        subject=f"{words} expires soon",
        what=f"{what} expires on {row.expires_at:%Y-%m-%d %H:%M} UTC. If you still use "
        "it, replace it before then.",
        page="/vendor" if isinstance(row, AppKey) else "/security",
    )
    return True


def _ending(model: type[Any], now: datetime) -> QuerySet[Any]:
    owner = "app__owner" if model is AppKey else "user"
    rows: QuerySet[Any] = model.objects.select_related(owner).filter(
        expires_at__gt=now,
        expires_at__lte=now + BEFORE,
        created_at__lt=F("expires_at") - BEFORE,
        revoked_at=None,
        expiry_mailed_at=None,
        **{f"{owner}__is_active": True},
    )
    if model is not UserKey:
        rows = rows.filter(replaced_by=None)
    waiting = rows.select_for_update(no_key=True, skip_locked=True, of=("self",))
    return waiting.order_by("expires_at", "pk")


def _about(row: Any) -> tuple[Any, str, str]:
    """Who is told, of what: nothing that somebody else may have named."""
    if isinstance(row, AppKey):
        return row.app.owner, "A key of your app", f"The key {row} of {row.app.slug}"
    words = "access token" if isinstance(row, PersonalAccessToken) else "API key"
    return row.user, f"Your {words}", f"The {words} {row}"
