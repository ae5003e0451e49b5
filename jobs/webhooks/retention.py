"""Deliveries are kept for 30 days after they ended; then they are forgotten."""

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from jobs.models import Attempt, Delivery, Event

KEPT = timedelta(days=30)


def forget_old(*, batch: int = 1000) -> int:
    """Drop what ended longer than `KEPT` ago, a batch at a time. Returns how many."""
    count, before = 0, timezone.now() - KEPT
    while ids := list(
        Delivery.objects.filter(ended_at__lt=before).values_list("pk", flat=True)[
            :batch
        ]
    ):
        with transaction.atomic():
            # One that was sent again meanwhile is not old any more.
            old = Delivery.objects.select_for_update(no_key=True, skip_locked=True)
            mine = list(
                old.filter(pk__in=ids, ended_at__lt=before).values_list("pk", flat=True)
            )
            if not mine:
                break
            Attempt.objects.filter(delivery__in=mine)._raw_delete("default")
            Delivery.objects.filter(pk__in=mine)._raw_delete("default")
            count += len(mine)
    unheard = Event.objects.filter(created_at__lt=before, delivery=None)
    oldest = unheard.order_by("created_at").values_list("pk", flat=True)
    while ids := list(oldest[:batch]):
        Event.objects.filter(pk__in=ids)._raw_delete("default")
    return count
