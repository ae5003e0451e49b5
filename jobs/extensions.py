"""Keep the reservation of a running job: a heartbeat of the work."""

from uuid import UUID

from django.db import transaction

from jobs import lifecycle
from jobs.lifecycle import Caller, JobNotStarted, Outcome
from jobs.models import Job
from wallet import ledger


@transaction.atomic
def extend(*, job_id: UUID, caller: Caller, ttl_seconds: int) -> Outcome:
    """Let a started job expire `ttl_seconds` from now, unless it expires later anyway.

    The job and its reservation get the same new end, at most 7 days after the job's
    start. Raises `JobNotFound`, `TokenBoundToApp`, `HostedApp`, `AppKeyRequired`,
    `JobNotStarted` for a job that has ended or expired by time, and as `ledger.extend`;
    and then writes nothing. Locks the job, then the wallet. Takes two queries.
    """
    found = lifecycle.lock(job_id, caller)
    job = found.job
    if found.status != Job.Status.STARTED:
        raise _not_started(found.status)
    lifecycle.check_ttl(job.app, ttl_seconds)
    try:
        extended = ledger.extend(
            account_id=job.account_id,
            app=job.app,
            job_id=job.pk,
            began_at=job.created_at,
            ends_at=job.expires_at,
            ttl_seconds=ttl_seconds,
            actor=caller.actor,
            then=ledger.Consequence(_EXTEND_JOB, {}),
        )
    except ledger.ReservationExpired:
        # The job expired while this call waited for the job's or the wallet's lock.
        raise _not_started(Job.Status.EXPIRED) from None
    job.expires_at = extended.expires_at
    return Outcome(job, extended.balance, changed=extended.changed)


# The job takes the reservation's own end, so that the two never differ.
_EXTEND_JOB = """
    UPDATE jobs_job SET expires_at = moved.expires_at
    FROM moved WHERE jobs_job.id = %(job)s AND moved.outcome = 'extended'
"""


def _not_started(status: str) -> JobNotStarted:
    return JobNotStarted(f"The job is already {status}.", status=str(status))
