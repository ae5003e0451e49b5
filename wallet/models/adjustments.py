"""What staff asked to do to a wallet, and the words that go with it."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone


class Adjustment(models.Model):
    """One adjustment by staff: booked at once, or waiting for a second person.

    The entries say what moved. This row has the texts, which may be erased without
    touching an entry. A trigger keeps whose it is, its amount and its reason as they
    were asked for, and a decision as it was made.
    """

    class State(models.TextChoices):
        PENDING = "pending", "Waits for approval"
        BOOKED = "booked", "Booked"
        REJECTED = "rejected", "Rejected"

    class Reason(models.TextChoices):
        GOODWILL = "goodwill", "Goodwill"
        BILLING_ERROR = "billing_error", "Billing error"
        REFUND = "refund", "Refund"
        FRAUD = "fraud", "Fraud"
        CORRECTION = "correction", "Correction"
        PROMOTION = "promotion", "Promotion"
        OTHER = "other", "Other"

    # The id of the form, which names the money key.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="adjustments"
    )
    amount_micro = models.BigIntegerField()
    reason = models.CharField(max_length=16, choices=Reason)
    # For staff.
    note = models.CharField("internal note", max_length=400)
    # For the wallet's owner.
    customer_text = models.CharField(
        "text for the customer", max_length=200, blank=True
    )
    state = models.CharField(max_length=8, choices=State)
    # Empty for one by the shell: `shell` says which login.
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        db_index=False,
    )
    shell = models.CharField(max_length=120, blank=True)
    requested_at = models.DateTimeField()
    # A request that waits lapses then, by time.
    lapses_at = models.DateTimeField(null=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        db_index=False,
    )
    decided_at = models.DateTimeField(null=True)
    movement_id = models.UUIDField(null=True, unique=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(amount_micro=0), name="an_adjustment_moves_something"
            ),
            models.CheckConstraint(
                condition=Q(state="booked", movement_id__isnull=False)
                | (~Q(state="booked") & Q(movement_id__isnull=True)),
                name="a_booked_adjustment_has_its_movement",
            ),
            models.CheckConstraint(
                condition=Q(requested_by__isnull=True) | ~Q(requested_by=F("account")),
                name="no_adjustment_of_ones_own_wallet",
            ),
            models.CheckConstraint(
                condition=~Q(state="booked")
                | Q(decided_by__isnull=True)
                | (~Q(decided_by=F("account")) & ~Q(decided_by=F("requested_by"))),
                name="an_approver_is_a_second_person",
            ),
        ]
        indexes = [
            models.Index(
                fields=["requested_by", "requested_at"], name="adjustments_of_staff"
            )
        ]

    def __str__(self) -> str:
        return f"adjustment of {self.requested_at:%Y-%m-%d %H:%M} UTC"

    @property
    def lapsed(self) -> bool:
        """Whether the time to decide has passed."""
        if self.state != self.State.PENDING or self.lapses_at is None:
            return False
        return self.lapses_at <= timezone.now()
