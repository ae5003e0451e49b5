"""Differences between Stripe's books and ours, as rows that staff read."""

import logging

from django.db.models.functions import Now

from payments.models import Drift

log = logging.getLogger(__name__)

Kind = Drift.Kind


def record(*, kind: Kind, subject: str, detail: str) -> Drift | None:
    """List a difference for staff, as one row while it lasts.

    Returns None if staff settled this difference by hand before.
    """
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
    """Take a difference off the list for good, because staff dealt with it.

    Returns False if it was not open.
    """
    open_ = Drift.objects.filter(pk=drift_id, healed_at=None)
    return bool(open_.update(healed_at=Now(), settled_by=by[:254]))
