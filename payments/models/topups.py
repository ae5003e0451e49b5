"""Automatic top-up: the rule that a user sets, and each charge of their card."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from focus.money import MICRO
from payments.models.packs import Pack, dollars
from payments.models.purchases import Purchase


class TopUpRule(models.Model):
    """A user's automatic top-up. Lock order: the rule, then its attempts."""

    class Why(models.TextChoices):
        """Why automatic top-up is off; the user reads the labels."""

        NEVER = "", "not switched on yet"
        PERSON = "person", "you switched it off"
        DECLINED = "declined", "your bank declined the card"
        AUTHENTICATION = "authentication", "your bank wants you to confirm the payment"
        CARD = "card", "the saved card cannot be charged any more"
        PACK = "pack", "the pack changed or is not sold any more"
        REVERSED = "reversed", "a payment of yours was refunded or disputed"
        ACCOUNT = "account", "the account was closed or changed hands"
        STAFF = "staff", "support switched it off"

    account = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    enabled = models.BooleanField(default=False)
    off_because = models.CharField(
        max_length=14, choices=Why, default=Why.NEVER, blank=True
    )
    threshold_micro = models.BigIntegerField()
    pack = models.ForeignKey(Pack, on_delete=models.PROTECT, db_index=False)
    # The pack's terms when the user agreed. Other terms need a new agreement.
    credits_micro = models.BigIntegerField()
    price_cents = models.PositiveIntegerField()
    ceiling_cents = models.PositiveIntegerField()
    # The saved card, and its description for the user.
    stripe_payment_method_id = models.CharField(max_length=255, blank=True)
    card = models.CharField(max_length=60, blank=True)
    consented_at = models.DateTimeField(null=True)
    # The purchase that saves the card, while its payment is awaited.
    saving = models.OneToOneField(Purchase, on_delete=models.PROTECT, null=True)
    # The account's epoch at consent: a new owner of the account must not get the card.
    epoch = models.PositiveIntegerField(default=0)
    switched_on_at = models.DateTimeField(null=True)
    # No attempt before this: cool-down, back-off, or the next month.
    not_before = models.DateTimeField(db_default=Now())
    declines = models.PositiveSmallIntegerField(default=0)
    # When a worker last saw to the card. The oldest goes first.
    looked_at = models.DateTimeField(null=True)
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = "automatic top-up"
        constraints = [
            models.CheckConstraint(
                condition=Q(enabled=False)
                | ~Q(stripe_payment_method_id="")
                & Q(consented_at__isnull=False, switched_on_at__isnull=False),
                name="a_top_up_has_a_card_and_a_consent",
            ),
            models.CheckConstraint(
                condition=Q(threshold_micro__gt=0, credits_micro__gt=0),
                name="a_top_up_threshold_is_positive",
            ),
            models.CheckConstraint(
                condition=Q(ceiling_cents__gte=models.F("price_cents")),
                name="a_top_up_ceiling_allows_one",
            ),
        ]
        indexes = [
            models.Index(
                fields=["not_before"], condition=Q(enabled=True), name="top_ups_on"
            ),
        ]

    def __str__(self) -> str:
        return f"automatic top-up of {self.account}"

    @property
    def price_dollars(self) -> str:
        return dollars(self.price_cents)

    @property
    def ceiling_dollars(self) -> str:
        return dollars(self.ceiling_cents)


class TopUpAttempt(models.Model):
    """One automatic charge, written before the call to Stripe.

    `due_at` is set until the outcome is known; each attempt of a worker moves it on.
    """

    class Status(models.TextChoices):
        PENDING = "pending"
        PAID = "paid"
        DECLINED = "declined"
        # The bank wants the user to confirm, which takes a checkout of their own.
        AUTHENTICATION = "authentication", "needs the person"
        # Nothing was charged, and no bank declined.
        CANCELLED = "cancelled"

    # Whether money of it went back; payments.topups.charging.latest_attempts sets it.
    refunded: bool

    # A part of the idempotency key at Stripe, so an id must never be used twice.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    pack = models.ForeignKey(Pack, on_delete=models.PROTECT, db_index=False)
    credits_micro = models.BigIntegerField()
    price_cents = models.PositiveIntegerField()
    stripe_customer_id = models.CharField(max_length=255)
    stripe_payment_method_id = models.CharField(max_length=255)
    stripe_payment_intent_id = models.CharField(max_length=255, null=True, unique=True)
    status = models.CharField(max_length=14, choices=Status, default=Status.PENDING)
    # The bank's code of a decline, or the obstacle.
    reason = models.CharField(max_length=120, blank=True)
    due_at = models.DateTimeField(null=True)
    tries = models.PositiveSmallIntegerField(default=0)
    lease = models.UUIDField(null=True, editable=False)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "top-up attempt"
        constraints = [
            models.UniqueConstraint(
                fields=["account"],
                condition=Q(status="pending"),
                name="one_pending_top_up_per_account",
            ),
            models.CheckConstraint(
                condition=Q(status="pending", ended_at=None, due_at__isnull=False)
                | ~Q(status="pending") & Q(ended_at__isnull=False, due_at=None),
                name="an_ended_top_up_says_when",
            ),
        ]
        indexes = [
            models.Index(
                fields=["due_at"],
                condition=Q(due_at__isnull=False),
                name="top_ups_to_be_looked_at",
            ),
            models.Index(fields=["account", "-created_at"], name="top_up_of_account"),
            models.Index(fields=["-created_at"], name="top_up_created"),
        ]

    def __str__(self) -> str:
        return f"top-up of {self.created_at:%Y-%m-%d %H:%M} UTC"

    @property
    def credits(self) -> int:
        return self.credits_micro // MICRO

    @property
    def price_dollars(self) -> str:
        return dollars(self.price_cents)
