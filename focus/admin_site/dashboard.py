"""The staff dashboard: totals, charges of today, jobs, webhooks and service health."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import OperationalError, connection, transaction
from django.db.models import Count, Min, Q
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import SecurityEvent
from focus import health
from focus.admin_site import shown
from jobs.hosted import engine, figures
from jobs.models import Delivery, Job
from wallet import invariants, statements
from wallet.ledger import NOW

# The statement timeout of each figure: a slow count would slow down customers.
PATIENCE = "2s"
# Beat checks hourly, so an older check means that beat does not run.
STALE = timedelta(hours=3)


def show(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the figures to unfold's context; staff without a role get none."""
    context["title"] = "Overview"
    if not request.user.has_perm("wallet.view_wallet"):
        return context
    now = timezone.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    context["focus"] = {
        "at": shown.moment(now),
        "totals": patiently(_totals),
        "earned": patiently(lambda: _earned(midnight)),
        "jobs": patiently(_jobs),
        "webhooks": patiently(lambda: _webhooks(now)),
        "hosted": hosted_figures(),
        "check": patiently(lambda: _last_check(now)),
        "alive": health.checks.words(),
    }
    return context


def patiently(figures: Callable[[], Any]) -> Any:
    """Return the figures, or None if a statement exceeds `PATIENCE`."""
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT set_config('statement_timeout', %s, true)", [PATIENCE]
                )
            return figures()
    except OperationalError:
        return None


def _totals() -> dict[str, str]:
    totals = statements.totals()
    held = totals.available_micro + totals.reserved_micro
    return {
        "outstanding": shown.credits_of(held),
        "reserved": shown.credits_of(totals.reserved_micro),
        "debt": shown.credits_of(totals.debt_micro),
        "wallets": f"{totals.wallets:,}",
    }


def _earned(since: datetime) -> list[dict[str, Any]]:
    earned = statements.charged_since(since)
    most = max((micro for _, micro in earned), default=0)
    return [
        {
            "app": slug,
            "amount": shown.credits_of(micro),
            "share": 100 * micro // most,
        }
        for slug, micro in earned
    ]


def _jobs() -> list[dict[str, Any]]:
    overdue = Q(status=Job.Status.STARTED, expires_at__lte=NOW)
    counts: dict[str, int] = dict(
        Job.objects.values_list("status").annotate(count=Count("pk"))
    )
    late = Job.objects.filter(overdue).count()
    counts[Job.Status.STARTED] = counts.get(Job.Status.STARTED, 0) - late
    counts[Job.Status.EXPIRED] = counts.get(Job.Status.EXPIRED, 0) + late
    return [
        {"status": status, "count": f"{counts.get(status, 0):,}"}
        for status in Job.Status.values
    ]


def _webhooks(now: datetime) -> dict[str, str]:
    day = now - timedelta(days=1)
    failed = Delivery.objects.filter(state=Delivery.State.FAILED, ended_at__gte=day)
    wanted = Q(endpoint__paused_until=None) | Q(endpoint__paused_until__lte=now)
    waiting = Delivery.objects.filter(
        wanted, state=Delivery.State.PENDING, endpoint__disabled_at=None
    )
    oldest = waiting.filter(due_at__lt=now).aggregate(at=Min("due_at"))["at"]
    late = round((now - oldest).total_seconds()) if oldest else 0
    return {
        "failed": f"{failed.count():,}",
        "overdue": f"by {timedelta(seconds=late)}" if late else "none",
    }


def hosted_figures() -> dict[str, str] | None:
    """Return the figures of the media queue in words, or None if counting is slow."""
    queue = patiently(figures.queue)
    if queue is None:
        return None
    waited = queue.oldest_waited_seconds
    media = engine.state()
    percent = f" ({media.percent} %)" if media.word == engine.PREPARING else ""
    return {
        "engine": f"{media.word}{percent}",
        "engine_says": media.sentence,
        "waiting": f"{queue.waiting:,}",
        "oldest": "none" if waited is None else f"for {timedelta(seconds=waited)}",
        "running": f"{queue.running:,}",
        "failed": f"{queue.failed_today:,}",
    }


def _last_check(now: datetime) -> dict[str, Any]:
    event = (
        SecurityEvent.objects.filter(user=None, kind=invariants.CHECKED)
        .order_by("-at")
        .first()
    )
    if event is None:
        return {
            "state": "never",
            "says": "Not checked yet. Beat checks the ledger every hour.",
        }
    at = shown.moment(event.at)
    if event.facts["violations"]:
        broken = ", ".join(map(str, event.facts["wallets"]))
        return {"state": "bad", "says": f"Problem at {at} UTC in wallet {broken}."}
    if now - event.at > STALE:
        return {
            "state": "bad",
            "says": f"The last check was at {at} UTC. Check that beat runs.",
        }
    held = event.facts["invariants"]
    return {"state": "good", "says": f"All {held} invariants held at {at} UTC."}
