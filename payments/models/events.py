"""Stripe's events, and the differences between Stripe's books and ours."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class StripeEvent(models.Model):
    """One event of Stripe's, stored before it is handled.

    The event waits for a worker while `due_at` is set; each attempt moves `due_at` on.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        DONE = "done"
        # Of a type that we do not handle, or about an object of another product.
        IGNORED = "ignored"
        # Every attempt failed for days; staff can retry it.
        FAILED = "failed"
        # Signed, but no event that we can parse. Kept for staff to read.
        REFUSED = "refused"

    class Lane(models.IntegerChoices):
        """The order in which events are handled: see `payments.inbox`."""

        PAYMENT = 0, "payment"
        OTHER = 1, "other"
        PAYMENT_AGAIN = 2, "payment, again"
        OTHER_AGAIN = 3, "other, again"

    stripe_id = models.CharField("Stripe's id", max_length=255, unique=True)
    type = models.CharField(max_length=120)
    object_id = models.CharField(max_length=255, blank=True, db_index=True)
    payment_intent_id = models.CharField(max_length=255, blank=True)
    body = models.TextField()
    livemode = models.BooleanField()
    # By Stripe's clock.
    happened_at = models.DateTimeField()
    received_at = models.DateTimeField(db_default=Now())
    state = models.CharField(max_length=7, choices=State, default=State.PENDING)
    due_at = models.DateTimeField(null=True)
    lane = models.PositiveSmallIntegerField(
        choices=Lane, default=Lane.OTHER, db_default=Lane.OTHER
    )
    tries = models.PositiveSmallIntegerField(default=0)
    lease = models.UUIDField(null=True, editable=False)
    # The result in words, or the reason of the last failed attempt.
    outcome = models.CharField(max_length=400, blank=True)
    handled_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "Stripe event"
        indexes = [
            models.Index(
                fields=["lane", "due_at", "id"],
                condition=Q(due_at__isnull=False),
                name="events_to_handle_by_lane",
            ),
            models.Index(fields=["-received_at"], name="event_received"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.stripe_id}"


class Drift(models.Model):
    """A difference between Stripe's books and ours, open until `healed_at`."""

    class Kind(models.TextChoices):
        NOT_CREDITED = "not_credited", "paid in Stripe, not credited here"
        NOT_PAID = "not_paid", "credited here, not paid in Stripe"
        AMOUNT = "amount", "another amount in Stripe"
        REVERSAL = "reversal", "refunds or disputes differ"
        SUBSCRIPTION = "subscription", "the subscription differs"
        TWO_SUBSCRIPTIONS = "two_subscriptions", "two live subscriptions"
        NO_CREDITS = "no_credits", "paid in Stripe, brings no credits"
        UNREAD = "unread", "could not be read from Stripe"

    kind = models.CharField(max_length=20, choices=Kind)
    # Stripe's id of the object that differs.
    subject = models.CharField(max_length=255)
    detail = models.CharField(max_length=400)
    first_seen_at = models.DateTimeField(db_default=Now())
    last_seen_at = models.DateTimeField(db_default=Now())
    # When a later comparison found no difference, or staff settled it.
    healed_at = models.DateTimeField(null=True)
    # The member of staff who settled it by hand. It is not listed again.
    settled_by = models.CharField(max_length=254, blank=True, default="", db_default="")

    class Meta:
        verbose_name = "difference from Stripe"
        verbose_name_plural = "differences from Stripe"
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "subject"],
                condition=Q(healed_at__isnull=True),
                name="a_difference_is_listed_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"
