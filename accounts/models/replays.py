"""Answers kept for a caller who asks again."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Replay(models.Model):
    """What one `Idempotency-Key` was answered, word for word.

    Written in the transaction that the answer speaks of, so one is there if and only
    if the other is.
    """

    # The contract, and whose key it is: "focus:user:…" or "focus:app:…".
    scope = models.CharField(max_length=120)
    key = models.CharField(max_length=255)
    fingerprint = models.BinaryField(max_length=32)
    status = models.SmallIntegerField()
    body = models.BinaryField()
    # The body with the secret it told, encrypted, for the minutes in which the answer
    # may have been lost; `body` is without.
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
