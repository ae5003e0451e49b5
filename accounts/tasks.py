"""What beat runs for accounts."""

from celery import shared_task

from accounts import replays


@shared_task(name="accounts.forget_replays")
def forget_replays(**_newer: object) -> None:
    replays.forget_old()
