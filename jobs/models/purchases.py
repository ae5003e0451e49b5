"""Purchases: a person's checkout of a tool, and its payment."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import App


class ToolPurchase(models.Model):
    """One checkout. Its id is the `checkout_id` of the 1sub guide.

    A checkout is open until `expires_at` and is paid at most once. `price_micro` is the
    price that the person was shown. A purchase of a free tool has no movement.
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
    # Set when staff revoke the purchase, which ends its tokens.
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
