"""Checks of one wallet, made by a worker, with progress for the admin's page.

Staff request a check as a row of a row queue (`focus.due`). A worker counts its steps
in the row, which renews its lease, and writes what it found. The check of a worker that
died begins again after the lease; a worker that lost its check stops at the next step.
"""

from collections.abc import Mapping
from datetime import timedelta

from django.db import IntegrityError, connection, transaction
from django.db.models import F

from focus import due
from wallet import invariants
from wallet.models import Verification, Wallet

QUEUE = due.Queue(
    Verification.objects.filter(finished_at=None).select_related("wallet__account"),
    task="wallet.verify",
    # Longer than any one step takes.
    lease=timedelta(seconds=60),
    backoff=due.Backoff(first=timedelta(seconds=60), longest=timedelta(hours=1)),
    order=("pk",),
    columns=due.Columns(tries="attempt"),
)
MOST_FOUND = 100


class LostCheck(Exception):
    """Another worker has the check."""


def request(*, wallet: Wallet, actor: str) -> Verification:
    """Request a check of `wallet`, or return the check that waits or runs."""
    try:
        with transaction.atomic():
            return Verification.objects.create(wallet=wallet, actor=actor)
    except IntegrityError:
        return Verification.objects.filter(wallet=wallet).latest("pk")


def latest(*, wallet: Wallet) -> Verification | None:
    """Return the check of `wallet` that was requested last."""
    return Verification.objects.filter(wallet=wallet).order_by("-pk").first()


def run_due() -> int:
    """Run every check that no other worker runs. Returns how many were finished."""
    done = 0
    while (claimed := _claim()) is not None:
        done += _run(claimed, invariants.EVERY)
    return done


@transaction.atomic
def _claim() -> Verification | None:
    steps = len(invariants.EVERY)
    row = QUEUE.claim(step=0, steps=steps, renewed_at=due.NOW)
    if row is not None:
        QUEUE.claimed_row(row).update(entries=row.wallet.seq)
    return row


def _run(row: Verification, among: Mapping[str, str]) -> bool:
    """Check the wallet of a claimed row. Returns whether this worker finished it."""

    def count(step: int) -> None:
        if not QUEUE.renew(row, step=step, renewed_at=due.NOW):
            raise LostCheck

    # The check keeps one snapshot open, in which these writes would not show.
    beside = connection.copy()
    try:
        broken = invariants.violations(
            row.wallet_id, among=among, using=beside, on_step=count
        )
    except LostCheck:
        return False
    finally:
        beside.close()
    found = [f"{each.invariant}: {each.detail}" for each in broken]
    return QUEUE.finish(
        row,
        finished_at=due.NOW,
        step=F("steps"),
        broken=len(broken),
        found=found[:MOST_FOUND],
    )
