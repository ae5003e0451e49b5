"""Adjustments that staff requested, with their texts."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone


class Adjustment(models.Model):
    """One adjustment by staff: booked at once, or pending for a second person.

    The entries have the movement. This row has the texts, which can be erased without
    changing an entry. A trigger refuses a change of account, requester, amount and
    reason, and of a decision.
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

    # The id of the form, and part of the money key.
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
    # Empty for an adjustment from the shell; `shell` has the login.
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        db_index=False,
    )
    shell = models.CharField(max_length=120, blank=True)
    requested_at = models.DateTimeField()
    # A pending request lapses at this time.
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
        """Whether the request is pending and past its time to decide."""
        if self.state != self.State.PENDING or self.lapses_at is None:
            return False
        return self.lapses_at <= timezone.now()
