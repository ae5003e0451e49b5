"""Celery tasks of the wallet. Due times are in rows, so a lost run only delays work."""

import logging

from celery import shared_task

from focus.background import sweeps
from wallet import anchors, invariants, ledger, verifications

log = logging.getLogger(__name__)


@shared_task(name="wallet.expire_grants")
def expire_grants(**_newer: object) -> None:
    ledger.expire_due()


@shared_task(name="wallet.check_ledger")
@sweeps.one_at_a_time
def check_ledger(**_newer: object) -> None:
    """Log every broken invariant, so that an alert can find it."""
    for violation in invariants.check(actor="system:beat"):
        log.error("ledger invariant broken: %s", violation)


@shared_task(name="wallet.verify")
@sweeps.one_at_a_time
def verify(**_newer: object) -> None:
    """Make the checks that staff asked for."""
    verifications.run_due()


@shared_task(name="wallet.anchor")
@sweeps.one_at_a_time
def anchor(**_newer: object) -> None:
    """Sign the heads of the changed wallets once a day, and log the signed statement.

    The log keeps a copy of the statement outside the database.
    """
    ledger.book_all_missing_terms()
    made = anchors.make_if_due()
    if made is not None:
        log.info("ledger anchored: %s", made.statement)
