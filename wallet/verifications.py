"""Checks of one wallet in a worker, with progress that a page can show.

A row asks for it. Any worker takes it up, counts its steps there, and writes what it
found. If it dies, the row is not renewed, and after `LEASE` beat has another worker
begin anew; the one before, should it still live, writes no more.
"""

from collections.abc import Mapping
from datetime import timedelta

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q

from wallet import invariants
from wallet.ledger import NOW
from wallet.models import Verification, Wallet

LEASE = timedelta(seconds=60)
MOST_FOUND = 100


def request(*, wallet: Wallet, actor: str) -> Verification:
    """The check of this wallet that waits or runs, asked for now if there is none."""
    try:
        with transaction.atomic():
            return Verification.objects.create(wallet=wallet, actor=actor)
    except IntegrityError:
        return Verification.objects.filter(wallet=wallet).latest("pk")


def latest(*, wallet: Wallet) -> Verification | None:
    return Verification.objects.filter(wallet=wallet).order_by("-pk").first()


def run_due() -> int:
    """Make every check that no living worker has taken up; returns how many."""
    done = 0
    while (taken := _take()) is not None:
        done += _run(taken, invariants.EVERY)
    return done


def _take() -> Verification | None:
    free = Q(renewed_at=None) | Q(renewed_at__lt=NOW - LEASE)
    with transaction.atomic():
        row = (
            Verification.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("wallet__account")
            .filter(free, finished_at=None)
            .order_by("pk")
            .first()
        )
        if row is None:
            return None
        row.attempt += 1
        row.step, row.steps = 0, len(invariants.EVERY)
        row.entries = row.wallet.seq
        Verification.objects.filter(pk=row.pk).update(
            attempt=row.attempt,
            step=0,
            steps=row.steps,
            entries=row.entries,
            renewed_at=NOW,
        )
    return row


def _run(row: Verification, among: Mapping[str, str]) -> bool:
    """Whether this worker finished it."""
    mine = Verification.objects.filter(pk=row.pk, attempt=row.attempt, finished_at=None)

    def count(step: int) -> None:
        mine.update(step=step, renewed_at=NOW)

    # The check keeps one snapshot open, which would not show or take our own writes.
    beside = connection.copy()
    try:
        broken = invariants.violations(
            row.wallet_id, among=among, using=beside, on_step=count
        )
    finally:
        beside.close()
    said = [f"{each.invariant}: {each.detail}" for each in broken]
    finished = mine.update(
        finished_at=NOW,
        step=F("steps"),
        broken=len(broken),
        found=said[:MOST_FOUND],
    )
    return bool(finished)
