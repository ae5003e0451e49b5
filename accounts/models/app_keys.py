"""Keys of partner apps: the credential of an app's own server."""

import uuid

from django.db import models
from django.db.models import Q


class AppKey(models.Model):
    """One key of one app. The row keeps a keyed digest and never the secret.

    `active` can be switched off and on again; `revoked_at` is final.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    app = models.ForeignKey("accounts.App", on_delete=models.PROTECT)
    name = models.CharField(max_length=120)
    digest = models.BinaryField(max_length=32, unique=True)
    prefix = models.CharField(max_length=16)
    last4 = models.CharField(max_length=4)
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    # When the reminder before `expires_at` was mailed to the app's owner.
    expiry_mailed_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    replaced_by = models.OneToOneField(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="replaces"
    )

    class Meta:
        indexes = [
            models.Index(
                fields=["expires_at"],
                condition=Q(revoked_at__isnull=True, expiry_mailed_at__isnull=True),
                name="app_keys_that_will_end",
            )
        ]

    def __str__(self) -> str:
        return f"{self.prefix}…{self.last4}"
