"""Deletion of deliveries, attempts and events 30 days after the delivery ended."""

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from jobs.models import Attempt, Delivery, Event

KEPT = timedelta(days=30)


def forget_old(*, batch: int = 1000) -> int:
    """Delete deliveries that ended before `KEPT` ago; returns how many.

    Takes one short transaction for each `batch`. Events that no delivery needs any more
    go too.
    """
    count, before = 0, timezone.now() - KEPT
    while ids := list(
        Delivery.objects.filter(ended_at__lt=before).values_list("pk", flat=True)[
            :batch
        ]
    ):
        with transaction.atomic():
            # A delivery that was requested again meanwhile is pending, not old.
            old = Delivery.objects.select_for_update(no_key=True, skip_locked=True)
            locked = list(
                old.filter(pk__in=ids, ended_at__lt=before).values_list("pk", flat=True)
            )
            if not locked:
                break
            Attempt.objects.filter(delivery__in=locked)._raw_delete("default")
            Delivery.objects.filter(pk__in=locked)._raw_delete("default")
            count += len(locked)
    unused = Event.objects.filter(created_at__lt=before, delivery=None)
    oldest = unused.order_by("created_at").values_list("pk", flat=True)
    while ids := list(oldest[:batch]):
        Event.objects.filter(pk__in=ids)._raw_delete("default")
    return count
