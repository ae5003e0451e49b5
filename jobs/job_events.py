"""The events of jobs, addressed to the account that owns the job's app."""

from typing import Any

from focus.money import from_micro
from jobs.models import Job
from jobs.webhooks import outbox


def write_end(job: Job) -> None:
    """Write the event of how the job ended, for the owner of its app.

    Takes one statement, and none where the app has no owner.
    """
    if job.app.owner_id is None:
        return
    outbox.write(
        account_id=job.app.owner_id,
        app_id=job.app_id,
        name=f"job.{job.status}",
        about=job.pk,
        data=data_of(job),
    )


def data_of(job: Job) -> dict[str, Any]:
    """The `data` of a job's event."""
    return {
        "job_id": job.pk,
        "app": job.app.slug,
        "action": job.action,
        "status": job.status,
        "user_id": job.account_id,
        "reserved": from_micro(job.reserved_micro),
        "charged": from_micro(job.charged_micro),
        "refunded": from_micro(job.refunded_micro),
        "uncovered": from_micro(job.uncovered_micro),
        "metadata": job.metadata,
    }
