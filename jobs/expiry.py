"""Jobs past their expiry: book the status that readers see already."""

from uuid import UUID

from django.db import transaction

from focus.background.sweeps import Sweep
from jobs import job_events
from jobs.models import Job
from wallet import ledger
from wallet.ledger import NOW


def expire_due(*, limit: int = 10_000) -> int:
    """Expire at most `limit` jobs that are past their time; returns how many.

    Reads the ids unlocked and takes one short transaction a job. So it may run beside
    callers and beside itself, and a run after a crash continues. A job that fails to
    expire is recorded and does not stop the others.
    """
    sweep, done = Sweep("jobs.expire_due"), 0
    due = (
        Job.objects.filter(status=Job.Status.STARTED, expires_at__lte=NOW)
        .exclude(pk__in=sweep.backing_off)
        .order_by("expires_at", "pk")
        .values_list("pk", flat=True)
    )
    job_ids = list(due[:limit])
    for job_id in job_ids:
        with sweep.each(job_id):
            done += _expire(job_id)
    sweep.end(complete=len(job_ids) < limit)
    return done


@transaction.atomic
def _expire(job_id: UUID) -> bool:
    """Expire one job: its row is locked first, then the wallet.

    Returns False where a caller settled the job since its id was read.
    """
    job = (
        Job.objects.select_for_update(no_key=True, of=["self"])
        .select_related("app")
        .filter(pk=job_id, status=Job.Status.STARTED, expires_at__lte=NOW)
        .first()
    )
    if job is None:
        return False
    ledger.expire(account_id=job.account_id)
    job.status = Job.Status.EXPIRED
    job.refunded_micro = job.reserved_micro
    job.settled_at = job.expires_at
    job.save(update_fields=["status", "refunded_micro", "settled_at"])
    job_events.write_end(job)
    return True
