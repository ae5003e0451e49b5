"""Failures of background work, which staff and /health read."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Failure(models.Model):
    """Background work that failed. The row is open until a success closes it.

    `subject` names the row or the step that failed, or is empty if the task itself
    failed. Each task and subject has at most one open row.
    """

    task = models.CharField(max_length=80)
    subject = models.CharField(max_length=255, blank=True)
    error = models.CharField(max_length=400)
    times = models.PositiveIntegerField(default=1)
    first_at = models.DateTimeField(db_default=Now())
    last_at = models.DateTimeField(db_default=Now())
    healed_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "failure in the background"
        verbose_name_plural = "failures in the background"
        constraints = [
            models.UniqueConstraint(
                fields=["task", "subject"],
                condition=Q(healed_at__isnull=True),
                name="a_failure_is_open_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.task} {self.subject}".strip()
