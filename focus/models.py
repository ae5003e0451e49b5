"""What goes wrong in background work, for staff and for /health."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Failure(models.Model):
    """Background work that failed and has not succeeded since.

    `subject` names the row or the step that failed; it is empty where the task itself
    did. One row is open for each of them; a success closes it.
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
