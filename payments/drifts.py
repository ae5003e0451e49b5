"""Differences from Stripe, as staff read them."""

import logging

from django.db.models.functions import Now

from payments.models import Drift

log = logging.getLogger(__name__)

Kind = Drift.Kind


def record(*, kind: Kind, subject: str, detail: str) -> Drift | None:
    """List a difference, once while it lasts. None where staff settled it by hand."""
    subject = subject[:255]
    settled = Drift.objects.filter(kind=kind, subject=subject).exclude(settled_by="")
    if settled.exists():
        return None
    row, _ = Drift.objects.update_or_create(
        kind=kind,
        subject=subject,
        healed_at=None,
        defaults={"detail": detail[:400], "last_seen_at": Now()},
    )
    log.error("differs from Stripe: %s %s: %s", kind, subject, detail)
    return row


def settle(*, drift_id: int, by: str) -> bool:
    """Take a difference off the list for good: staff dealt with it."""
    open_ = Drift.objects.filter(pk=drift_id, healed_at=None)
    return bool(open_.update(healed_at=Now(), settled_by=by[:254]))
