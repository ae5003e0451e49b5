"""Fresh preview addresses in the metadata of hosted jobs, as their addresses expire."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from jobs.models import Job

# The key of a job's metadata that holds the address.
KEY = "previewUrl"
Reader = Callable[[Sequence[UUID]], Mapping[UUID, str]]
_readers: dict[tuple[str, str], Reader] = {}


def register(*, app_slug: str, action: str, reader: Reader) -> None:
    """Set the function that reads the preview addresses of an action's jobs.

    It takes job ids, and returns the addresses of those that have a preview now. It
    should take one query.
    """
    _readers[app_slug, action] = reader


def renew(jobs: Sequence[Job]) -> None:
    """Put fresh preview addresses into the metadata of these jobs, in memory only.

    Reads `job.app`. Calls each action's reader once, and none without a hosted job. A
    hosted job has no address while its result is not there, or after its deletion.
    """
    by_reader: dict[tuple[str, str], list[Job]] = defaultdict(list)
    for job in jobs:
        which = job.app.slug, job.action
        if which in _readers and job.app.owner_id is None:
            by_reader[which].append(job)
    for which, hosted in by_reader.items():
        addresses = _readers[which]([job.pk for job in hosted])
        for job in hosted:
            job.metadata = {k: v for k, v in job.metadata.items() if k != KEY}
            if job.pk in addresses:
                job.metadata[KEY] = addresses[job.pk]
