"""Purchases: a person's checkout of a tool, and whether it was paid."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import App


class ToolPurchase(models.Model):
    """1sub's `checkout_id` is its id. Open until `expires_at`, paid once, for ever.

    The price is the one that the person was shown. A free tool's has no movement.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, db_index=False
    )
    app = models.ForeignKey(App, on_delete=models.PROTECT, db_index=False)
    price_micro = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    paid_at = models.DateTimeField(null=True, blank=True)
    movement_id = models.UUIDField(null=True, blank=True)
    # Staff took it back: its tokens are worth nothing any more.
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(price_micro__gte=0), name="a_purchase_costs_no_less_than_0"
            ),
            models.CheckConstraint(
                condition=Q(paid_at__isnull=True, movement_id__isnull=True)
                | Q(paid_at__isnull=False, price_micro=0, movement_id__isnull=True)
                | Q(
                    paid_at__isnull=False,
                    price_micro__gt=0,
                    movement_id__isnull=False,
                ),
                name="a_paid_purchase_has_its_movement",
            ),
        ]
        indexes = [
            models.Index(
                fields=["account", "app", "-created_at"], name="purchases_of_a_person"
            ),
            models.Index(
                fields=["app", "paid_at"],
                condition=Q(paid_at__isnull=False),
                name="purchases_of_a_tool",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.app} · {self.account}"
