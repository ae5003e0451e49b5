"""Reminders before tokens, user keys and app keys expire: one mail for each.

The transaction that writes the mail also marks the row, so no row is mailed twice.
"""

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from accounts import mails
from accounts.models import AppKey, PersonalAccessToken, UserKey
from focus.background.sweeps import Sweep

BEFORE = timedelta(days=7)


def warn_due(*, limit: int = 1000) -> int:
    """Write the mails about what expires within `BEFORE`, and return their number.

    No mail for a secret that was created with so short a life, that is revoked or
    replaced, or that belongs to a closed account.
    """
    return sum(_warn(model, limit) for model in (PersonalAccessToken, UserKey, AppKey))


def _warn(model: type[Any], limit: int) -> int:
    """Write the mails for one table. A row that fails is recorded; the others go on."""
    sweep, warned = Sweep(f"accounts.warn_of_expiry {model._meta.model_name}"), 0
    due = _ending(model, timezone.now()).exclude(pk__in=sweep.backing_off)
    row_ids = list(due.values_list("pk", flat=True)[:limit])
    for row_id in row_ids:
        with sweep.each(row_id):
            warned += _warn_one(model, row_id, timezone.now())
    sweep.end(complete=len(row_ids) < limit)
    return warned


@transaction.atomic
def _warn_one(model: type[Any], row_id: Any, now: datetime) -> bool:
    waiting = _ending(model, now).select_for_update(
        no_key=True, skip_locked=True, of=("self",)
    )
    row = waiting.filter(pk=row_id).first()
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
    return rows.order_by("expires_at", "pk")


def _about(row: Any) -> tuple[Any, str, str]:
    """Return the owner and two texts for the mail.

    The texts hold no name that another person chose, because names can be used for
    phishing.
    """
    if isinstance(row, AppKey):
        return row.app.owner, "A key of your app", f"The key {row} of {row.app.slug}"
    words = "access token" if isinstance(row, PersonalAccessToken) else "API key"
    return row.user, f"Your {words}", f"The {words} {row}"
