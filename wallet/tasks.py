"""What beat runs for the wallet. Due times live in rows; a lost run costs nothing."""

import logging

from celery import shared_task

from focus import sweeps
from wallet import invariants, ledger

log = logging.getLogger(__name__)


@shared_task(name="wallet.expire_grants")
def expire_grants(**_newer: object) -> None:
    ledger.expire_due()


@shared_task(name="wallet.check_ledger")
@sweeps.alone
def check_ledger(**_newer: object) -> None:
    """Say every broken invariant in the log, where an alert can find it."""
    for violation in invariants.check(actor="system:beat"):
        log.error("ledger invariant broken: %s", violation)
