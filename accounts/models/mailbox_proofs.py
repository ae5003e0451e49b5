"""Mailed links that prove a mailbox: to reset a password or to verify an email."""

from django.conf import settings
from django.db import models
from django.db.models import Q


class MailboxProof(models.Model):
    """One request for a link, whether or not the address has an account.

    A task mails it while there is a `due_at`, so the request takes the same time with
    and without an account. The row keeps only a digest of the link's secret.
    """

    class Purpose(models.TextChoices):
        RESET = "reset", "a new password"
        VERIFY = "verify", "this address is mine"

    purpose = models.CharField(max_length=8, choices=Purpose)
    email = models.EmailField()
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True
    )
    digest = models.BinaryField(max_length=32, null=True, unique=True)
    ip = models.GenericIPAddressField(null=True, blank=True)
    asked_at = models.DateTimeField()
    due_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["email", "-asked_at"], name="proofs_of_an_address"),
            models.Index(
                fields=["due_at"],
                condition=Q(due_at__isnull=False),
                name="proofs_to_be_mailed",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.purpose} · {self.email}"
