"""What people set out to buy: a pack, or a plan."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from payments.models.packs import Pack, Plan, dollars


class Purchase(models.Model):
    """Somebody's way to a pack, written before Stripe hears of it.

    Price and credits are as they were then: the pack may change while somebody pays.
    """

    class Status(models.TextChoices):
        OPEN = "open"
        # Stripe has it and waits for the bank: a bank debit, say.
        PROCESSING = "processing"
        PAID = "paid"
        FAILED = "failed"
        EXPIRED = "expired"

    # Stripe's idempotency keys are made of it, so it must never be given twice.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    pack = models.ForeignKey(Pack, on_delete=models.PROTECT, db_index=False)
    credits_micro = models.BigIntegerField()
    price_cents = models.PositiveIntegerField()
    status = models.CharField(max_length=10, choices=Status, default=Status.OPEN)
    # The person lets us keep the card that they pay with, for automatic top-up.
    saves_card = models.BooleanField(default=False, db_default=False)
    # Of the request with an Idempotency-Key that began it.
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
    """An account as Stripe knows it, once it has gone for a plan."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    stripe_customer_id = models.CharField(max_length=255, null=True, unique=True)
    # How often Stripe lost it and another was made.
    renewals = models.PositiveSmallIntegerField(default=0, db_default=0)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.stripe_customer_id or f"customer {self.pk}"


class PastCustomer(models.Model):
    """A customer of the account that Stripe does not have any more. Its invoices and
    subscriptions are still the account's.
    """

    account = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    stripe_customer_id = models.CharField(max_length=255, unique=True)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.stripe_customer_id


class PlanCheckout(models.Model):
    """Somebody's way to a plan. One is open per account, so nobody subscribes twice."""

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
    """A subscription as Stripe last told it."""

    # Those that give the plan: a late payment is Stripe's to chase for a while.
    LIVE = ("active", "trialing", "past_due")
    # Over for good, in Stripe's words.
    ENDED = ("canceled", "incomplete_expired")
    # Our word: Stripe does not know it under our key.
    GONE = "gone"

    account = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    stripe_subscription_id = models.CharField(max_length=255, unique=True)
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, db_index=False)
    status = models.CharField(max_length=20)
    current_period_end = models.DateTimeField(null=True)
    cancel_at_period_end = models.BooleanField(default=False)
    # Counts what was written; a reading from before the last one is thrown away.
    version = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())
    read_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.stripe_subscription_id

    @property
    def live(self) -> bool:
        return self.status in self.LIVE
