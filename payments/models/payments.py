"""Money that came in, and money that went back."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from payments.models.packs import Plan
from payments.models.purchases import Purchase
from payments.models.topups import TopUpAttempt


class Payment(models.Model):
    """One payment that gave credits, and how many of them were taken back.

    Written in the transaction of its grant. Each of Stripe's ids is unique, so several
    events about one payment credit it once.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    purchase = models.ForeignKey(
        Purchase, on_delete=models.PROTECT, null=True, related_name="payments"
    )
    plan = models.ForeignKey(
        Plan, on_delete=models.PROTECT, null=True, db_index=False, related_name="+"
    )
    # One attempt is credited once, even if Stripe reports two payments for it.
    top_up = models.OneToOneField(
        TopUpAttempt, on_delete=models.PROTECT, null=True, related_name="payment"
    )
    stripe_session_id = models.CharField(max_length=255, null=True, unique=True)
    stripe_invoice_id = models.CharField(max_length=255, null=True, unique=True)
    stripe_payment_intent_id = models.CharField(max_length=255, null=True, unique=True)
    amount_cents = models.PositiveIntegerField()
    granted_micro = models.BigIntegerField()
    taken_back_micro = models.BigIntegerField(default=0)
    # Counts comparisons with Stripe's refunds and disputes; see payments/refunds.py.
    version = models.PositiveIntegerField(default=0)
    paid_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(taken_back_micro__gte=0)
                & Q(taken_back_micro__lte=F("granted_micro")),
                name="never_more_back_than_granted",
            ),
            models.CheckConstraint(
                condition=Q(stripe_session_id__isnull=False)
                | Q(stripe_invoice_id__isnull=False)
                | Q(top_up__isnull=False, stripe_payment_intent_id__isnull=False),
                name="a_payment_was_made_for_something",
            ),
        ]
        indexes = [models.Index(fields=["-paid_at"], name="payment_paid")]

    def __str__(self) -> str:
        return f"payment of {self.paid_at:%Y-%m-%d %H:%M} UTC"

    @property
    def stripe_subject(self) -> str:
        """Stripe's id of the paid session, invoice or payment intent."""
        session = self.stripe_session_id or self.stripe_invoice_id
        return session or self.stripe_payment_intent_id or ""

    @property
    def money_key(self) -> str:
        """The key of the grant in the ledger."""
        return f"payment:{self.pk}"


class ClawedPiece(models.Model):
    """One claw-back of a payment's credits. The ledger reinstates it as a whole."""

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT)
    amount_micro = models.BigIntegerField()
    given_back = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(amount_micro__gt=0), name="a_piece_takes_something"
            )
        ]

    def __str__(self) -> str:
        return f"piece {self.pk} of {self.payment_id}"

    @property
    def money_key(self) -> str:
        """The key of the claw-back in the ledger."""
        return f"payment:{self.payment_id}:piece:{self.pk}"


class Reversal(models.Model):
    """A refund or a dispute of a payment, as last read from Stripe."""

    class Kind(models.TextChoices):
        REFUND = "refund"
        DISPUTE = "dispute"

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT)
    kind = models.CharField(max_length=7, choices=Kind)
    stripe_id = models.CharField(max_length=255, unique=True)
    amount_cents = models.PositiveIntegerField()
    status = models.CharField(max_length=40)
    # Whether the money is not ours in this status.
    counts = models.BooleanField()
    created_at = models.DateTimeField(db_default=Now())
    changed_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.kind} {self.stripe_id}"
