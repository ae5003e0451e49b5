"""Offers: packs that are paid once, and plans that are paid monthly."""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


def dollars(cents: int) -> str:
    """Format US cents as dollars: `$1,234.56`."""
    return f"${cents // 100:,}.{cents % 100:02}"


class Pack(models.Model):
    """Credits for a price, paid once. Never deleted: purchases refer to it."""

    sku = models.SlugField("SKU", max_length=40, unique=True)
    credits = models.PositiveIntegerField()
    price_cents = models.PositiveIntegerField(help_text="US cents.")
    active = models.BooleanField(default=True, help_text="Whether it can be bought.")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(credits__gte=1, credits__lte=1_000_000_000),
                name="a_pack_gives_something",
            ),
            # Stripe takes no less than 50 cents.
            models.CheckConstraint(
                condition=Q(price_cents__gte=50, price_cents__lte=99_999_999),
                name="a_pack_costs_what_stripe_takes",
            ),
        ]

    def __str__(self) -> str:
        return self.sku

    @property
    def price_dollars(self) -> str:
        return dollars(self.price_cents)


class Plan(models.Model):
    """A monthly price and the credits that each paid month brings."""

    slug = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=80)
    price_cents = models.PositiveIntegerField(
        help_text="US cents a month; 0 for the plan that everybody has."
    )
    credits = models.PositiveIntegerField(
        default=0, help_text="What each paid month brings."
    )
    rollover_months = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        default=1,
        help_text="How many months unused credits outlive the month they were paid"
        " with. 0: none. Empty: they never expire.",
    )
    features = ArrayField(models.CharField(max_length=120), default=list, blank=True)
    stripe_price_id = models.CharField(
        max_length=255,
        blank=True,
        help_text="A Price in Stripe. Empty: one is made within seconds.",
    )
    # When a worker next checks the plan's Price at Stripe, and why there is none yet.
    price_due_at = models.DateTimeField(null=True, editable=False)
    price_tries = models.PositiveSmallIntegerField(
        default=0, db_default=0, editable=False
    )
    price_lease = models.UUIDField(null=True, editable=False)
    price_problem = models.CharField(
        max_length=200, blank=True, default="", db_default="", editable=False
    )
    active = models.BooleanField(default=True, help_text="Whether it can be chosen.")
    # A part of idempotency keys at Stripe: primary keys repeat in every new database.
    key = models.UUIDField(default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(price_cents=0)
                | Q(price_cents__gte=50, price_cents__lte=99_999_999),
                name="a_plan_costs_nothing_or_what_stripe_takes",
            ),
            models.UniqueConstraint(
                fields=["stripe_price_id"],
                condition=~Q(stripe_price_id=""),
                name="a_stripe_price_is_of_one_plan",
            ),
        ]

    def __str__(self) -> str:
        return self.slug

    @property
    def price_dollars(self) -> str:
        return dollars(self.price_cents)


class PlanPrice(models.Model):
    """A Price in Stripe that a plan has or had: subscribers keep their old Price."""

    plan = models.ForeignKey(Plan, on_delete=models.PROTECT)
    stripe_price_id = models.CharField(max_length=255, unique=True)
    price_cents = models.PositiveIntegerField()
    # Deleted or archived at Stripe: no new checkout uses it.
    gone = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.stripe_price_id
