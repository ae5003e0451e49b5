"""Stored answers of requests with an `Idempotency-Key`."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Replay(models.Model):
    """The exact answer to one `Idempotency-Key`.

    It is written in the transaction that does the work, so the answer exists if and
    only if the work was committed.
    """

    # Contract and caller: "focus:user:…" or "focus:app:…".
    scope = models.CharField(max_length=120)
    key = models.CharField(max_length=255)
    fingerprint = models.BinaryField(max_length=32)
    status = models.SmallIntegerField()
    body = models.BinaryField()
    # The body with its secret, encrypted, for the minutes in which a client retries a
    # lost answer. `body` lacks the secret.
    sealed = models.BinaryField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["scope", "key"], name="a_key_has_one_answer"
            )
        ]
        indexes = [
            models.Index(fields=["created_at"], name="replay_age"),
            models.Index(
                fields=["created_at"],
                condition=Q(sealed__isnull=False),
                name="replay_secrets",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.scope} {self.key}"
