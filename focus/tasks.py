"""What beat runs for the project as a whole."""

from celery import shared_task

from focus.background import overdue, sweeps


@shared_task(name="focus.watch_queues")
@sweeps.one_at_a_time
def watch_queues(**_newer: object) -> None:
    overdue.watch()
