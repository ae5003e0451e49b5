"""What a person sees of hosted work in a list of jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings

from jobs.hosted import previews, runs
from jobs.hosted.runs import RunStatus
from jobs.models import Job, Run


@dataclass(frozen=True, slots=True)
class ShownRun:
    """One job's run. `preview_url` is empty where there is no picture.

    `failure` says what went wrong and what to change. It is empty for a run that has
    not failed.
    """

    status: RunStatus
    preview_url: str
    failure: str


def of_jobs(jobs: Sequence[Job]) -> dict[UUID, ShownRun]:
    """Return the runs of those jobs that are hosted work, by the job's id.

    Renews the previews in the metadata of all `jobs`. Takes one query for the runs, one
    where some of them wait, and one for the previews of each action. No access is
    checked: pass jobs that the caller may read.
    """
    if not jobs:
        return {}
    rows = {run.job_id: run for run in Run.objects.filter(job__in=jobs)}
    statuses = runs.statuses_of(rows.values())
    previews.renew(jobs)
    return {
        job.pk: ShownRun(statuses[run.pk], _picture(job), failure_of(run))
        for job in jobs
        if (run := rows.get(job.pk))
    }


def failure_of(run: Run) -> str:
    """Return why a run failed and what to change, in sentences."""
    if run.state != Run.State.FAILED:
        return ""
    sentence = run.error_sentence or "The work failed."
    return f"{sentence} {run.error_change}".rstrip()


def _picture(job: Job) -> str:
    """Return the address of our own server in the job's metadata, or an empty text."""
    address = job.metadata.get(previews.KEY)
    own = f"{settings.PUBLIC_BASE_URL}/files/"
    return address if isinstance(address, str) and address.startswith(own) else ""
