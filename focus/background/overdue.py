"""A sign of life of every row queue: does a worker still claim what is due?"""

from focus import due
from focus.background import sweeps


class Overdue(Exception):
    """A queue's oldest due row waits longer than any working queue lets it."""


def watch() -> None:
    """Record a failure for each queue with an overdue row, and close those of others.

    Costs one indexed query and one UPDATE for each queue. Staff and /health read the
    failure under the name of the task that should have claimed the row.
    """
    for queue in due.QUEUES:
        since = queue.overdue_since() if queue.is_on() else None
        subject = f"queue {queue.name}"
        if since is None:
            sweeps.record_success(task=queue.task, subject=subject)
        else:
            waits = Overdue(f"a row is due since {since:%Y-%m-%d %H:%M} UTC")
            sweeps.record_failure(task=queue.task, subject=subject, failure=waits)
