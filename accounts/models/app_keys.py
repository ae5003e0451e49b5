"""Keys of partner apps: what an app's own server signs in with."""

import uuid

from django.db import models


class AppKey(models.Model):
    """One secret of one app. Only a keyed digest is kept; the secret is shown once.

    `active` is a switch that can be flipped back; `revoked_at` is for ever.
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
    last_used_at = models.DateTimeField(null=True, blank=True)
    replaced_by = models.OneToOneField(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="replaces"
    )

    def __str__(self) -> str:
        return f"{self.prefix}…{self.last4}"
