"""Purchases and subscriptions of accounts, and their customers at Stripe."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from payments.models.packs import Pack, Plan, dollars


class Purchase(models.Model):
    """A purchase of a pack, written before the call to Stripe.

    Price and credits are copies: staff may change the pack while the buyer pays.
    """

    class Status(models.TextChoices):
        OPEN = "open"
        # Stripe waits for the bank, as for a bank debit.
        PROCESSING = "processing"
        PAID = "paid"
        FAILED = "failed"
        EXPIRED = "expired"

    # A part of idempotency keys at Stripe, so an id must never be used twice.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    pack = models.ForeignKey(Pack, on_delete=models.PROTECT, db_index=False)
    credits_micro = models.BigIntegerField()
    price_cents = models.PositiveIntegerField()
    status = models.CharField(max_length=10, choices=Status, default=Status.OPEN)
    # The buyer allows us to save the card of this payment, for automatic top-up.
    saves_card = models.BooleanField(default=False, db_default=False)
    # A hash that identifies the request that began the purchase, so a retry is safe.
    once = models.BinaryField(max_length=32, null=True)
    stripe_session_id = models.CharField(max_length=255, null=True, unique=True)
    url = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now())
    paid_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "pack purchase"
        constraints = [
            models.UniqueConstraint(
                fields=["once"],
                condition=Q(once__isnull=False),
                name="a_repeated_request_is_one_purchase",
            )
        ]
        indexes = [models.Index(fields=["-created_at"], name="purchase_created")]

    def __str__(self) -> str:
        return f"purchase of {self.created_at:%Y-%m-%d %H:%M} UTC"

    @property
    def price_dollars(self) -> str:
        return dollars(self.price_cents)


class Customer(models.Model):
    """The account's customer at Stripe. An account without one never needed one."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    stripe_customer_id = models.CharField(max_length=255, null=True, unique=True)
    # How often Stripe lost the customer and we created another one.
    renewals = models.PositiveSmallIntegerField(default=0, db_default=0)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.stripe_customer_id or f"customer {self.pk}"


class PastCustomer(models.Model):
    """A customer of the account that Stripe no longer has.

    The customer's invoices and subscriptions still belong to the account.
    """

    account = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    stripe_customer_id = models.CharField(max_length=255, unique=True)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.stripe_customer_id


class PlanCheckout(models.Model):
    """A checkout for a plan. An account may have one open, so it cannot pay for two."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, db_index=False)
    stripe_session_id = models.CharField(max_length=255, null=True, unique=True)
    url = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now())
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["account"],
                condition=Q(closed_at__isnull=True),
                name="one_open_plan_checkout_per_account",
            )
        ]

    def __str__(self) -> str:
        return f"checkout {self.pk}"


class Subscription(models.Model):
    """A subscription, as last read from Stripe."""

    # The statuses that give the plan. Stripe collects late payments for a while.
    LIVE = ("active", "trialing", "past_due")
    # Stripe's final statuses.
    ENDED = ("canceled", "incomplete_expired")
    # Our own status: Stripe has no such subscription under our API key.
    GONE = "gone"

    account = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    stripe_subscription_id = models.CharField(max_length=255, unique=True)
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, db_index=False)
    status = models.CharField(max_length=20)
    current_period_end = models.DateTimeField(null=True)
    cancel_at_period_end = models.BooleanField(default=False)
    # Counts writes: a reading that is older than the last write is discarded.
    version = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())
    read_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.stripe_subscription_id

    @property
    def live(self) -> bool:
        """Whether the subscription gives its plan."""
        return self.status in self.LIVE
