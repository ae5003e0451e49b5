"""Passkeys: the public keys of authenticators, and their owners."""

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Func, Q
from django.db.models.lookups import LessThanOrEqual

# WebAuthn, 4: a credential id is at most this long.
LONGEST_CREDENTIAL_ID = 1023
HANDLE_BYTES = 64


class PasskeyOwner(models.Model):
    """The random user handle that authenticators store for a user (WebAuthn, 5.4.3).

    It is neither the account's id nor its email, because authenticators reveal it to
    any person who holds them.
    """

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, primary_key=True
    )
    handle = models.BinaryField(max_length=HANDLE_BYTES, unique=True)

    def __str__(self) -> str:
        return str(self.user_id)


class Passkey(models.Model):
    """One passkey. Removing it deletes the row; the audit keeps a record.

    `sign_count` only grows; it stays 0 for keys that are synced between devices.
    `flagged_at` is when the counter last went backwards, a sign of a copied key.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    credential_id = models.BinaryField(max_length=LONGEST_CREDENTIAL_ID, unique=True)
    # COSE (RFC 9052).
    public_key = models.BinaryField()
    sign_count = models.BigIntegerField(default=0)
    transports = ArrayField(models.CharField(max_length=16), default=list, blank=True)
    name = models.CharField(max_length=120)
    backup_eligible = models.BooleanField()
    backed_up = models.BooleanField()
    user_verified = models.BooleanField()
    created_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)
    flagged_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=LessThanOrEqual(
                    Func(
                        F("credential_id"),
                        function="octet_length",
                        output_field=models.IntegerField(),
                    ),
                    LONGEST_CREDENTIAL_ID,
                ),
                name="a_credential_id_fits",
            ),
            models.CheckConstraint(
                condition=Q(backup_eligible=True) | Q(backed_up=False),
                name="only_an_eligible_passkey_is_backed_up",
            ),
        ]

    def __str__(self) -> str:
        return self.name
