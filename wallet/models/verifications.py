"""Checks of one wallet that staff asked for, made by a worker."""

from django.db import models
from django.db.models.functions import Now

from wallet.models.wallets import Wallet


class Verification(models.Model):
    """One check of a wallet: its progress, and what it found.

    Unfinished checks are a row queue; see `wallet.verifications`.
    """

    wallet = models.ForeignKey(
        Wallet, on_delete=models.PROTECT, related_name="verifications"
    )
    # The code of the staff member who requested it.
    actor = models.CharField(max_length=120)
    asked_at = models.DateTimeField(db_default=Now())
    due_at = models.DateTimeField(null=True, db_default=Now())
    lease = models.UUIDField(null=True, editable=False)
    # The worker's latest sign of life; null while none has begun.
    renewed_at = models.DateTimeField(null=True)
    # How many workers have begun it.
    attempt = models.IntegerField(default=0)
    step = models.IntegerField(default=0)
    steps = models.IntegerField(default=0)
    entries = models.BigIntegerField(default=0)
    finished_at = models.DateTimeField(null=True)
    # What is broken, as sentences; at most a hundred of `broken`.
    broken = models.IntegerField(default=0)
    found = models.JSONField(default=list)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["wallet"],
                condition=models.Q(finished_at=None),
                name="a_wallet_is_verified_once_at_a_time",
            )
        ]

    def __str__(self) -> str:
        return f"verification {self.pk}"

    @property
    def percent(self) -> int:
        return 100 * self.step // self.steps if self.steps else 0
