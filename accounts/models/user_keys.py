"""Keys of users (`sk_live_…`), which their servers send as `X-Api-Key`."""

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q


class UserKey(models.Model):
    """One key that acts as its user. Only its digest is stored."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    name = models.CharField(max_length=120)
    digest = models.BinaryField(max_length=32, unique=True)
    prefix = models.CharField(max_length=16)
    last4 = models.CharField(max_length=4)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    # When the reminder before `expires_at` was mailed to the user.
    expiry_mailed_at = models.DateTimeField(null=True, blank=True)
    # The networks (CIDR) of its creation and use; None before the first recorded use.
    networks = ArrayField(models.CharField(max_length=43), null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["expires_at"],
                condition=Q(revoked_at__isnull=True, expiry_mailed_at__isnull=True),
                name="user_keys_that_will_end",
            )
        ]

    def __str__(self) -> str:
        return f"{self.prefix}…{self.last4}"
