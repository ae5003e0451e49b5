"""What beat runs for accounts."""

from celery import shared_task

from accounts import arrivals, expiry, mailbox, mails, replays, syncs


@shared_task(name="accounts.forget_replays")
def forget_replays(**_newer: object) -> None:
    replays.forget_old()
    mailbox.forget_old()
    syncs.forget_old()


@shared_task(name="accounts.send_mails")
def send_mails(**_newer: object) -> None:
    mailbox.mail_due()
    mails.send_due()


@shared_task(name="accounts.warn_of_expiry")
def warn_of_expiry(**_newer: object) -> None:
    expiry.warn_due()


@shared_task(name="accounts.learn_from_clerk")
def learn_from_clerk(**_newer: object) -> None:
    arrivals.learn_due()


@shared_task(name="accounts.sync_links")
def sync_links(**_newer: object) -> None:
    syncs.run_due()
