"""Jobs: work that an app did for an account, and its cost."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import App


class Job(models.Model):
    """One job. Its reservation has the same id. Amounts are micro-credits.

    `status` is the booked status. A started job past `expires_at` reads as expired
    everywhere (see `lifecycle.JobAsOf`) before any sweeper writes it.
    """

    class Status(models.TextChoices):
        STARTED = "started"
        COMPLETED = "completed"
        FAILED = "failed"
        EXPIRED = "expired"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, db_index=False
    )
    app = models.ForeignKey(App, on_delete=models.PROTECT, db_index=False)
    # Started by a key of the app, so that only the app's keys settle the job. Otherwise
    # the person started it.
    started_by_app = models.BooleanField(default=False, db_default=False)
    action = models.CharField(max_length=120)
    status = models.CharField(max_length=9, choices=Status, default=Status.STARTED)
    reserved_micro = models.BigIntegerField()
    actual_cost_micro = models.BigIntegerField(null=True)
    charged_micro = models.BigIntegerField(default=0)
    refunded_micro = models.BigIntegerField(default=0)
    uncovered_micro = models.BigIntegerField(default=0)
    late = models.BooleanField(default=False)
    # For a failed job: whether the reservation was returned, and the caller's reason.
    refund = models.BooleanField(null=True)
    fail_reason = models.CharField(max_length=500, blank=True)
    metadata = models.JSONField(default=dict)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(reserved_micro__gte=0, charged_micro__gte=0)
                & Q(refunded_micro__gte=0, uncovered_micro__gte=0),
                name="job_amounts_are_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(status="started", settled_at__isnull=True)
                | (~Q(status="started") & Q(settled_at__isnull=False)),
                name="finished_jobs_say_when",
            ),
        ]
        indexes = [
            models.Index(fields=["account", "-created_at", "-id"], name="job_listed"),
            # An app's key lists the app's jobs.
            models.Index(
                fields=["app", "-created_at", "-id"], name="job_listed_of_app"
            ),
            # The charges of an app, and those of an account, within a period.
            models.Index(
                fields=["app", "settled_at"],
                condition=Q(settled_at__isnull=False),
                name="job_settled_of_app",
            ),
            models.Index(
                fields=["account", "settled_at"],
                condition=Q(settled_at__isnull=False),
                name="job_settled_of_account",
            ),
            # Staff list all jobs.
            models.Index(fields=["created_at"], name="job_created_at"),
            models.Index(
                fields=["expires_at"],
                condition=Q(status="started"),
                name="job_due",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action}, {self.created_at:%Y-%m-%d %H:%M} UTC"
