"""Signed-in sessions: one row per sign-in, whatever token or cookie carries it."""

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q


class Session(models.Model):
    """One sign-in. Its JWTs, refresh tokens and cookie all die with this row.

    The refresh token in use is `tip`; `prev` is the one it came from, good until
    somebody presents the tip; `prev2` went before both and is good for the few
    seconds after `prev_retired_at` in which its answer may have been lost.
    """

    class Kind(models.TextChoices):
        BROWSER = "browser", "browser cookie"
        TOKENS = "tokens", "access and refresh token"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    kind = models.CharField(max_length=8, choices=Kind)
    client = models.CharField(max_length=120, blank=True)
    # How the person proved themselves (RFC 8176), for the `amr` claim.
    methods = ArrayField(models.CharField(max_length=16), default=list, blank=True)
    # The Django session this sign-in rides on: the digest of its key.
    browser_key = models.CharField(max_length=40, null=True, blank=True)
    # The passkey that opened it, and whose removal ends it.
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
