"""Identities at other providers: the Google account that signs a user in."""

import uuid

from django.conf import settings
from django.db import models


class Identity(models.Model):
    """One account at a provider that signs `user` in. Unlinking deletes the row.

    `subject` is the provider's permanent id. `email` is the address at the last
    sign-in; it identifies no account.
    """

    class Provider(models.TextChoices):
        GOOGLE = "google", "Google"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    provider = models.CharField(max_length=16, choices=Provider)
    subject = models.CharField(max_length=255)
    email = models.EmailField(blank=True)
    created_at = models.DateTimeField()
    last_used_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "identities"
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "subject"], name="a_subject_has_one_account"
            )
        ]

    def __str__(self) -> str:
        return f"{self.provider} · {self.email or self.subject}"
