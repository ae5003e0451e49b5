"""The Celery tasks of accounts. Beat starts them; each drains due rows."""

from celery import shared_task

from accounts import mails, replays
from accounts.credentials import expiry
from accounts.links import syncs
from accounts.providers import arrivals
from accounts.recovery import mailbox
from focus.background import sweeps


@shared_task(name="accounts.forget_replays")
@sweeps.one_at_a_time
def forget_replays(**_newer: object) -> None:
    steps = (
        replays.forget_old,
        mailbox.forget_old,
        syncs.forget_old,
        sweeps.forget_old,
    )
    sweeps.run_steps("accounts.forget_replays", *steps)


@shared_task(name="accounts.send_mails")
@sweeps.one_at_a_time
def send_mails(**_newer: object) -> None:
    sweeps.run_steps("accounts.send_mails", mailbox.mail_due, mails.send_due)


@shared_task(name="accounts.warn_of_expiry")
@sweeps.one_at_a_time
def warn_of_expiry(**_newer: object) -> None:
    expiry.warn_due()


@shared_task(name="accounts.learn_from_clerk")
@sweeps.one_at_a_time
def learn_from_clerk(**_newer: object) -> None:
    arrivals.learn_due()


@shared_task(name="accounts.sync_links")
@sweeps.one_at_a_time
def sync_links(**_newer: object) -> None:
    syncs.run_due()
