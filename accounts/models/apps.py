"""Partner apps: the products that spend users' credits."""

import uuid
from typing import LiteralString

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

# The limits of an app's longest reservation.
SHORTEST_TTL_SECONDS = 60
LONGEST_TTL_SECONDS = 86_400


# An app is live while it is switched on and its owner's account is open. Use one of
# these to check it: `App.objects.live()`, `app.is_live`, this condition on a row `a` of
# accounts_app, or `ledger.is_live` in the ledger's SQL.
LIVE: LiteralString = """(a.active AND NOT EXISTS (
    SELECT FROM accounts_user o WHERE o.id = a.owner_id AND NOT o.is_active))"""


class AppQuerySet(models.QuerySet["App"]):
    def live(self) -> "AppQuerySet":
        """Return the live apps: switched on, and not owned by a closed account."""
        return self.filter(
            Q(owner__isnull=True) | Q(owner__is_active=True), active=True
        )


class App(models.Model):
    """A partner's product, such as a 1sub "tool". Deactivated, never deleted."""

    class OveragePolicy(models.TextChoices):
        CAP = "cap", "charge what the balance covers"
        REJECT = "reject", "refuse to settle"
        OVERFLOW = "overflow", "go below zero, down to the overdraft limit"

    class StarterCreditsAt(models.TextChoices):
        APP = "app", "at this app only"
        ANY = "any", "at every app"

    class DuplicateMode(models.TextChoices):
        CONFLICT = "conflict", "409, with the first answer's facts"
        REPLAY = "replay", "the first answer again, 200"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    slug = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=120)
    name_needs_approval = models.BooleanField(
        default=False,
        db_default=False,
        help_text="The name imitates another app or claims to be official. The app "
        "cannot be bought until this is unticked.",
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True
    )
    active = models.BooleanField(default=True)
    starter_credits_micro = models.BigIntegerField(
        default=0, validators=[MinValueValidator(0)]
    )
    # Applies to new grants. Existing grants keep their terms.
    starter_credits_at = models.CharField(
        "starter credits are spent",
        max_length=3,
        choices=StarterCreditsAt,
        default=StarterCreditsAt.APP,
        db_default=StarterCreditsAt.APP,
    )
    overage_policy = models.CharField(
        max_length=8, choices=OveragePolicy, default=OveragePolicy.CAP
    )
    settle_with_app_key_only = models.BooleanField(default=False)
    max_ttl_seconds = models.PositiveIntegerField(
        default=LONGEST_TTL_SECONDS,
        validators=[
            MinValueValidator(SHORTEST_TTL_SECONDS),
            MaxValueValidator(LONGEST_TTL_SECONDS),
        ],
        help_text="How long its jobs may keep credits reserved, at most.",
    )
    origins = ArrayField(
        models.CharField(max_length=255),
        default=list,
        blank=True,
        help_text="Exact origins, such as https://video.example.com",
    )
    redirect_token = models.BooleanField(
        default=True, help_text="Hand ?token= over after sign-in."
    )
    family = models.BooleanField(
        "Focus family",
        default=False,
        db_default=False,
        help_text="Its tokens may also read a person's linked accounts' tokens "
        "(xToken, oauthToken).",
    )
    rate_limit_per_minute = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Requests a minute for each of its keys; empty for the usual.",
    )
    # The offer at /tools: a purchase costs `price_micro` and leads to `tool_url`.
    is_tool = models.BooleanField(default=False, db_default=False)
    price_micro = models.BigIntegerField(
        default=0, db_default=0, validators=[MinValueValidator(0)]
    )
    tool_url = models.CharField(
        "redirect URL",
        max_length=2048,
        blank=True,
        default="",
        db_default="",
        help_text="Where a buyer is sent with ?token=, such as "
        "https://your-tool.com/auth/callback",
    )
    duplicate_mode = models.CharField(
        max_length=8,
        choices=DuplicateMode,
        default=DuplicateMode.CONFLICT,
        db_default=DuplicateMode.CONFLICT,
        help_text="What 1sub's credits/consume answers to an identical repeat.",
    )
    sold_per_use = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Each checkout is charged. Otherwise a person buys the tool once.",
    )
    # The owner can only switch on again what the owner switched off, not staff.
    paused_by_owner = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = AppQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(starter_credits_micro__gte=0),
                name="starter_credits_are_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(price_micro__gte=0), name="a_price_is_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(is_tool=False) | ~Q(tool_url=""),
                name="a_tool_has_somewhere_to_go",
            ),
            models.CheckConstraint(
                condition=Q(max_ttl_seconds__gte=SHORTEST_TTL_SECONDS)
                & Q(max_ttl_seconds__lte=LONGEST_TTL_SECONDS),
                name="max_ttl_is_a_minute_to_a_day",
            ),
        ]
        indexes = [
            GinIndex(fields=["origins"], name="apps_by_origin"),
            models.Index(fields=["name"], condition=Q(is_tool=True), name="tools"),
        ]

    def __str__(self) -> str:
        return self.slug

    @property
    def is_live(self) -> bool:
        """Whether the app is live. Costs a query if `owner` is not loaded."""
        return self.active and (self.owner is None or self.owner.is_active)
