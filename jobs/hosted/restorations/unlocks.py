"""Unlock a restored photo by credits: the charge and the unlock are one transaction."""

from dataclasses import dataclass
from uuid import UUID

from django.db import transaction

from jobs.hosted import prices
from jobs.hosted.restorations import photos
from jobs.models import Restoration


@dataclass(frozen=True, slots=True)
class Unlocked:
    """An unlocked restoration, and the credits that the account has left for reviv."""

    restoration: Restoration
    balance_micro: int


@transaction.atomic
def unlock(*, account_id: UUID, restoration_id: int) -> Unlocked:
    """Charge the price of an unlock, and unlock the photo.

    Raises `NotFound`, `photos.InvalidState`, `photos.AlreadyUnlocked`, and as
    `prices.charge_once`, in this order. Locks the restoration, then the wallet: of
    parallel calls the first one charges, and the others see the unlocked photo.
    """
    restoration = photos.lock(account_id=account_id, restoration_id=restoration_id)
    photos.require_locked(restoration)
    paid = prices.charge_once(
        account_id=account_id,
        app_slug="reviv",
        action="unlock",
        # The run's id, because a partner that owned this app's name before may have
        # charged under any number.
        key=f"unlock:{restoration.run_id}",
        reason="Unlock of a restored photo",
    )
    photos.unlock(
        restoration,
        method=Restoration.UnlockMethod.PAID,
        movement_id=paid.movement_id,
    )
    return Unlocked(restoration, paid.balance_micro)
