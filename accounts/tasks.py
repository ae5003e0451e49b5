"""What beat runs for accounts."""

from celery import shared_task

from accounts import mails, replays


@shared_task(name="accounts.forget_replays")
def forget_replays(**_newer: object) -> None:
    replays.forget_old()


@shared_task(name="accounts.send_mails")
def send_mails(**_newer: object) -> None:
    mails.send_due()
