"""Letters to people: written with what they tell of, sent a moment later."""

from django.conf import settings
from django.db import models
from django.db.models import Q


class Mail(models.Model):
    """One letter. It is to be sent while it has a `due_at`, which each try moves on."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    # As it was then: a notice goes to whoever held the account when it happened.
    to = models.EmailField()
    subject = models.CharField(max_length=120)
    body = models.TextField()
    # The link that goes into the body, until it is sent.
    sealed = models.BinaryField(null=True, blank=True)
    created_at = models.DateTimeField()
    due_at = models.DateTimeField(null=True, blank=True)
    tries = models.PositiveSmallIntegerField(default=0)
    lease = models.UUIDField(null=True, editable=False)
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["due_at"],
                condition=Q(due_at__isnull=False),
                name="mails_to_be_sent",
            )
        ]

    def __str__(self) -> str:
        return f"{self.subject} · {self.to}"
