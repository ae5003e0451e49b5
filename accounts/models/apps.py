"""Partner apps: the products that spend a person's credits."""

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q


class App(models.Model):
    """A partner's product. A 1sub "tool" is one too. Deactivated, never deleted."""

    class OveragePolicy(models.TextChoices):
        CAP = "cap", "charge what the balance covers"
        REJECT = "reject", "refuse to settle"
        OVERFLOW = "overflow", "go below zero, down to the overdraft limit"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    slug = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=120)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True
    )
    active = models.BooleanField(default=True)
    starter_credits_micro = models.BigIntegerField(
        default=0, validators=[MinValueValidator(0)]
    )
    overage_policy = models.CharField(
        max_length=8, choices=OveragePolicy, default=OveragePolicy.CAP
    )
    settle_with_app_key_only = models.BooleanField(default=False)
    origins = ArrayField(
        models.CharField(max_length=255),
        default=list,
        blank=True,
        help_text="Exact origins, such as https://video.example.com",
    )
    redirect_token = models.BooleanField(
        default=True, help_text="Hand ?token= over after sign-in."
    )
    rate_limit_per_minute = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Requests a minute for each of its keys; empty for the usual.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(starter_credits_micro__gte=0),
                name="starter_credits_are_not_negative",
            ),
        ]
        indexes = [GinIndex(fields=["origins"], name="apps_by_origin")]

    def __str__(self) -> str:
        return self.slug
