"""A caller's jobs, newest first."""

from django.db.models import Q, QuerySet

from jobs.lifecycle import Caller, JobAsOf
from jobs.models import Job
from wallet.ledger import NOW


def listed(
    *,
    caller: Caller,
    limit: int,
    app: str | None = None,
    status: str | None = None,
    after: Q | None = None,
) -> list[JobAsOf]:
    """Read at most `limit` of the caller's jobs, newest first. Takes one query.

    `app` is a slug. `status` is the status by time, so it finds a started job past its
    expiry as expired. `after` holds the rows that follow a place in the list.
    """
    jobs = _jobs(caller, app, status)
    if after is not None:
        jobs = jobs.filter(after)
    # The clock is no column, so it moves from the instance to `JobAsOf`.
    rows = jobs.annotate(now=NOW)[:limit]
    return [JobAsOf(job, job.__dict__.pop("now")) for job in rows]


def _jobs(caller: Caller, app: str | None, status: str | None) -> QuerySet[Job]:
    jobs = Job.objects.select_related("app")
    if caller.app_id is not None:
        jobs = jobs.filter(app=caller.app_id)
    else:
        jobs = jobs.filter(account=caller.account_id)
    if caller.bound_to is not None:
        jobs = jobs.filter(app__slug=caller.bound_to.slug)
    if app is not None:
        jobs = jobs.filter(app__slug=app)
    if status == Job.Status.STARTED:
        jobs = jobs.filter(status=status, expires_at__gt=NOW)
    elif status == Job.Status.EXPIRED:
        overdue = Q(status=Job.Status.STARTED, expires_at__lte=NOW)
        jobs = jobs.filter(overdue | Q(status=status))
    elif status is not None:
        jobs = jobs.filter(status=status)
    return jobs.order_by("-created_at", "-pk")
