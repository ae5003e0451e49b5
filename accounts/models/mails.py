"""Mails to users: written in the transaction of their cause, sent by a task."""

from django.conf import settings
from django.db import models
from django.db.models import Q


class Mail(models.Model):
    """One mail. It is sent while it has a `due_at`, which each try moves on."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    # The address at that time, so a notice reaches the owner at the time of the event.
    to = models.EmailField()
    subject = models.CharField(max_length=120)
    body = models.TextField()
    # The link for the body, encrypted, until the mail is sent.
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
