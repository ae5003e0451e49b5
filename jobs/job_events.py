"""What the endpoints of an app's owner are told of its jobs."""

from typing import Any

from focus.money import from_micro
from jobs.models import Job
from jobs.webhooks import outbox


def tell(job: Job) -> None:
    """Tell how the job ended: one statement, and none where no endpoint listens."""
    if job.listens:
        name = f"job.{job.status}"
        outbox.write(app=job.app, name=name, about=job.pk, data=told(job))


def told(job: Job) -> dict[str, Any]:
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
