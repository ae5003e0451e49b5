"""What beat runs for payments. Due times live in rows; a lost run costs nothing."""

from celery import shared_task

from payments import inbox


@shared_task(name="payments.handle_events")
def handle_events(**_newer: object) -> None:
    inbox.handle_due()


@shared_task(name="payments.forget_bodies")
def forget_bodies(**_newer: object) -> None:
    inbox.forget_bodies()
