"""Usage: a tool's charges without a job, with the first answer to each."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import App


class Usage(models.Model):
    """One charge by 1sub's `credits/consume`, written with its movement.

    Rows are kept for ever, so that a repeated key always gets its first answer.
    """

    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, db_index=False
    )
    app = models.ForeignKey(App, on_delete=models.PROTECT, db_index=False)
    # The tool's idempotency key, unique within the app.
    key = models.CharField(max_length=255)
    amount_micro = models.BigIntegerField()
    reason = models.CharField(max_length=500)
    movement_id = models.UUIDField()
    # What the app could still spend after the charge, as the first answer said.
    balance_after_micro = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "usage"
        constraints = [
            models.UniqueConstraint(
                fields=["app", "key"], name="a_tool_uses_a_key_once"
            ),
            models.CheckConstraint(
                condition=Q(amount_micro__gt=0), name="usage_costs_something"
            ),
        ]
        indexes = [
            models.Index(fields=["app", "created_at"], name="usage_of_a_tool"),
            models.Index(fields=["account", "created_at"], name="usage_of_an_account"),
        ]

    def __str__(self) -> str:
        return f"{self.app} {self.key}"
