"""Accounts at Steam and X that users linked to their account here."""

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q


class Link(models.Model):
    """One linked account of a user at a provider. Unlinking deletes the row.

    `subject` is the provider's permanent id, `username` the last known name.
    `expires_at` is the expiry of the access token, None if the provider gives none.
    `is_active` is False after the provider withdrew access; the user must reconnect.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    provider = models.CharField(max_length=16)
    subject = models.CharField(max_length=64)
    username = models.CharField(max_length=120, blank=True)
    # JSON of the access and refresh token, encrypted by accounts.sealed.
    sealed_tokens = models.BinaryField(null=True, blank=True)
    scopes = ArrayField(models.CharField(max_length=64), default=list, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    # The lease of the worker that renews the token. Its value identifies the attempt.
    renewing_until = models.DateTimeField(null=True, blank=True)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField()
    last_synced_at = models.DateTimeField(null=True, blank=True)
    # The result of the last sync.
    profile = models.JSONField(default=dict, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "subject"],
                name="an_account_elsewhere_is_linked_once",
            ),
            models.UniqueConstraint(
                fields=["user", "provider"], name="one_link_for_each_provider"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.provider} · {self.username or self.subject}"


class Sync(models.Model):
    """One sync of a linked account's profile. It runs while it has a `due_at`."""

    link = models.ForeignKey(Link, on_delete=models.CASCADE, related_name="syncs")
    requested_at = models.DateTimeField()
    due_at = models.DateTimeField(null=True, blank=True)
    tries = models.PositiveSmallIntegerField(default=0)
    lease = models.UUIDField(null=True, editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    found = models.JSONField(null=True, blank=True)
    error = models.CharField(max_length=120, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["link"],
                condition=Q(finished_at__isnull=True),
                name="one_sync_at_a_time",
            )
        ]
        indexes = [
            models.Index(
                fields=["due_at"],
                condition=Q(due_at__isnull=False),
                name="syncs_to_be_run",
            )
        ]

    def __str__(self) -> str:
        return f"{self.link} · {self.requested_at:%Y-%m-%d %H:%M}"
