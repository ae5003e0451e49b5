"""The audit of sign-ins and secrets. Rows are kept for ever."""

from django.conf import settings
from django.db import models
from django.db.models import Q


class SecurityEvent(models.Model):
    """One event of the audit. A trigger refuses UPDATE and DELETE."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        db_index=False,
    )
    actor = models.CharField(max_length=255, blank=True)
    kind = models.CharField(max_length=40)
    facts = models.JSONField(default=dict, blank=True)
    ip = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=400, blank=True)
    at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["user", "kind", "-at"], name="events_of_a_person"),
            # Used by the limit on wrong device codes, the only lookup by address.
            models.Index(
                fields=["ip", "-at"],
                condition=Q(kind="device_code_wrong"),
                name="wrong_codes_by_address",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.at:%Y-%m-%d %H:%M}"
