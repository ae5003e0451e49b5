"""Hosted work: its runs, and its prices."""

import uuid

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import App
from jobs.models.jobs import Job


class Run(models.Model):
    """One piece of work for the media engine, done once at the end of its tries.

    A run is also a job of a first-party app, which holds what the run may cost. The
    product's own row, such as a restoration, refers to the run.
    """

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, db_index=False
    )
    kind = models.CharField(max_length=20)
    job = models.OneToOneField(Job, on_delete=models.PROTECT)
    state = models.CharField(max_length=9, choices=State, default=State.QUEUED)
    stage = models.CharField(max_length=30, blank=True)
    percent = models.PositiveSmallIntegerField(default=0, db_default=0)
    message = models.CharField(max_length=200, blank=True)
    # The options that the person chose. They never change.
    request = models.JSONField(default=dict)
    # How much work this is in the price's unit, how much of it is free this month, and
    # what each other unit costs. Held from the start; the outcome may lower the units.
    units = models.PositiveIntegerField(default=0, db_default=0)
    free_units = models.PositiveIntegerField(default=0, db_default=0)
    unit_micro = models.BigIntegerField(default=0, db_default=0)
    # What the engine measured and did.
    report = models.JSONField(null=True)
    # Why the run failed: a code, a sentence for the person, and what to change. The
    # detail is for staff.
    error_code = models.CharField(max_length=40, blank=True)
    error_sentence = models.CharField(max_length=300, blank=True)
    error_change = models.CharField(max_length=300, blank=True)
    error_detail = models.CharField(max_length=2000, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)
    tries = models.PositiveSmallIntegerField(default=0, db_default=0)
    lease = models.UUIDField(null=True, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    state__in=["queued", "running"],
                    due_at__isnull=False,
                    finished_at__isnull=True,
                )
                | Q(
                    state__in=["done", "failed", "cancelled"],
                    due_at__isnull=True,
                    finished_at__isnull=False,
                ),
                name="an_ended_run_is_not_due",
            ),
            models.CheckConstraint(
                condition=Q(percent__lte=100), name="a_run_has_a_percentage"
            ),
            models.CheckConstraint(
                condition=Q(free_units__lte=models.F("units"), unit_micro__gte=0),
                name="a_run_has_no_more_free_units_than_units",
            ),
        ]
        indexes = [
            models.Index(fields=["account", "-created_at"], name="runs_of_an_account"),
            models.Index(
                fields=["due_at"], condition=Q(due_at__isnull=False), name="runs_due"
            ),
            models.Index(fields=["-created_at"], name="runs_by_age"),
            models.Index(
                fields=["-finished_at"],
                condition=Q(state="failed"),
                name="failed_runs",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind}, {self.created_at:%Y-%m-%d %H:%M} UTC"


class Price(models.Model):
    """What one unit of hosted work costs. An amount of 0 books nothing.

    A row with a plan's name is for that plan alone; the row without one is for the
    others.
    """

    app = models.ForeignKey(App, on_delete=models.PROTECT)
    action = models.CharField(max_length=20)
    unit = models.CharField(max_length=20)
    plan = models.CharField(max_length=40, blank=True)
    credits_micro = models.BigIntegerField(validators=[MinValueValidator(0)])
    free_units_a_month = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["app", "action", "plan"], name="one_price_an_action_and_plan"
            ),
            models.CheckConstraint(
                condition=Q(credits_micro__gte=0), name="a_unit_costs_no_less_than_0"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action}, {self.plan or 'every plan'}"
