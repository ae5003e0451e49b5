"""What beat runs for jobs. Due times live in rows; a lost run costs nothing."""

from celery import shared_task

from jobs import lifecycle


@shared_task(name="jobs.expire_due")
def expire_due(**_newer: object) -> None:
    lifecycle.expire_due()
