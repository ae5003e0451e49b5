"""The figures of the media queue, for staff."""

from dataclasses import dataclass

from django.db.models import Count, Min, Q
from django.utils import timezone

from jobs.models import Run


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """Runs by state. `oldest_waited_seconds` is None where no run waits."""

    waiting: int
    oldest_waited_seconds: int | None
    running: int
    failed_today: int


def queue() -> QueueFigures:
    """Return the figures as of now; the day begins at midnight UTC. Two queries."""
    now = timezone.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    # Each run that has not ended is due at some time, and an index holds those.
    is_queued = Q(state=Run.State.QUEUED)
    open_runs = Run.objects.filter(due_at__isnull=False).aggregate(
        waiting=Count("pk", filter=is_queued),
        oldest=Min("created_at", filter=is_queued),
        running=Count("pk", filter=Q(state=Run.State.RUNNING)),
    )
    failed = Run.objects.filter(state=Run.State.FAILED, finished_at__gte=midnight)
    oldest = open_runs["oldest"]
    return QueueFigures(
        waiting=open_runs["waiting"],
        oldest_waited_seconds=(
            None if oldest is None else max(0, round((now - oldest).total_seconds()))
        ),
        running=open_runs["running"],
        failed_today=failed.count(),
    )
