"""Grants of device sign-in (RFC 8628)."""

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q


class DeviceGrant(models.Model):
    """One `device/start` and its state. Only a digest of the device code is stored."""

    class Status(models.TextChoices):
        PENDING = "pending"
        APPROVED = "approved"
        DENIED = "denied"
        REDEEMED = "redeemed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    device_digest = models.BinaryField(max_length=32, unique=True)
    user_code = models.CharField(max_length=8)
    client_name = models.CharField(max_length=120)
    scopes = ArrayField(models.CharField(max_length=64), default=list)
    code_challenge = models.CharField(max_length=43, blank=True)
    status = models.CharField(max_length=8, choices=Status, default=Status.PENDING)
    interval_seconds = models.PositiveSmallIntegerField()
    polled_at = models.DateTimeField(null=True, blank=True)
    ip = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=400, blank=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    granted_scopes = ArrayField(
        models.CharField(max_length=64), default=list, blank=True
    )
    token = models.OneToOneField(
        "accounts.PersonalAccessToken",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user_code"],
                condition=Q(status="pending"),
                name="a_pending_user_code_has_one_grant",
            ),
            models.CheckConstraint(
                condition=Q(status="pending")
                | Q(decided_by__isnull=False, decided_at__isnull=False),
                name="a_decision_has_its_person",
            ),
            models.CheckConstraint(
                condition=Q(status="redeemed", token__isnull=False)
                | (~Q(status="redeemed") & Q(token__isnull=True)),
                name="a_redeemed_grant_has_its_token",
            ),
        ]
        indexes = [
            models.Index(
                fields=["ip", "expires_at"],
                condition=Q(status="pending"),
                name="pending_grants_by_address",
            )
        ]

    def __str__(self) -> str:
        return f"{self.client_name} {self.status}"
