"""Sessions: one row for each sign-in, by cookie or by tokens."""

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q


class Session(models.Model):
    """One sign-in. Revoking the row ends its JWTs, refresh tokens and cookie.

    `tip` is the newest refresh token. `prev` is its predecessor, valid until the first
    use of `tip`. `prev2` came before both. It is valid for a few seconds after
    `prev_retired_at`, because its answer may have been lost.
    """

    class Kind(models.TextChoices):
        BROWSER = "browser", "browser cookie"
        TOKENS = "tokens", "access and refresh token"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    kind = models.CharField(max_length=8, choices=Kind)
    client = models.CharField(max_length=120, blank=True)
    # The authentication methods (RFC 8176), for the `amr` claim.
    methods = ArrayField(models.CharField(max_length=16), default=list, blank=True)
    # The digest of the key of the Django session that carries this sign-in.
    browser_key = models.CharField(max_length=40, null=True, blank=True)
    # The passkey that opened the session. Removing the passkey ends the session.
    passkey = models.ForeignKey(
        "accounts.Passkey",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        db_index=False,
    )
    ip = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=400, blank=True)
    created_at = models.DateTimeField()
    last_used_at = models.DateTimeField()
    idle_expires_at = models.DateTimeField()
    absolute_expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    tip = models.UUIDField(null=True, blank=True, editable=False)
    prev = models.UUIDField(null=True, blank=True, editable=False)
    prev2 = models.UUIDField(null=True, blank=True, editable=False)
    prev_retired_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["browser_key"], name="a_browser_key_has_one_session"
            ),
            models.CheckConstraint(
                condition=Q(kind="browser", browser_key__isnull=False)
                | Q(kind="tokens", tip__isnull=False),
                name="a_session_has_its_carrier",
            ),
        ]
        indexes = [
            models.Index(
                fields=["passkey"],
                condition=Q(passkey__isnull=False),
                name="sessions_of_a_passkey",
            )
        ]

    def __str__(self) -> str:
        return f"{self.client or self.kind}, {self.created_at:%Y-%m-%d %H:%M} UTC"
