"""Webhooks: endpoints, events, deliveries and every attempt at a delivery."""

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import App


class Endpoint(models.Model):
    """An address of an account. It receives the account's events, by subscribed type.

    `secret` and `next_secret` are sealed (`accounts.sealed`). A deleted endpoint loses
    its secrets and keeps its history.
    """

    class Disabled(models.TextChoices):
        OWNER = "owner", "by its owner"
        STAFF = "staff", "by support"
        GONE = "gone", "it answered 410 Gone"
        ASKED = "asked", "its answer asked for it"
        FAILING = "failing", "a day of failed deliveries"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    url = models.CharField(max_length=2048)
    events = ArrayField(models.CharField(max_length=100))
    secret = models.BinaryField()
    next_secret = models.BinaryField(null=True)
    promotes_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    disabled_at = models.DateTimeField(null=True)
    disabled_because = models.CharField(max_length=7, choices=Disabled, blank=True)
    deleted_at = models.DateTimeField(null=True)
    # The endpoint answered 429 with Retry-After.
    paused_until = models.DateTimeField(null=True)
    # The last attempt failed or was slow, or there was none yet. A worker then makes
    # fewer requests to the endpoint at once.
    troubled = models.BooleanField(default=True)
    # Since the last success: the time of the first delivery that failed after all its
    # tries, and the number of such deliveries.
    failing_since = models.DateTimeField(null=True)
    given_up = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["account", "url"],
                condition=Q(deleted_at__isnull=True),
                name="an_account_has_an_address_once",
            ),
            models.CheckConstraint(
                condition=Q(next_secret__isnull=True, promotes_at__isnull=True)
                | Q(next_secret__isnull=False, promotes_at__isnull=False),
                name="a_new_secret_has_its_day",
            ),
            models.CheckConstraint(
                condition=Q(disabled_at__isnull=True, disabled_because="")
                | (Q(disabled_at__isnull=False) & ~Q(disabled_because="")),
                name="a_disabled_endpoint_says_why",
            ),
        ]

    def __str__(self) -> str:
        return self.url


class Event(models.Model):
    """A change that `account` is informed of. Every attempt sends exactly `body`."""

    id = models.UUIDField(primary_key=True, editable=False)
    account = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    app = models.ForeignKey(App, on_delete=models.PROTECT, null=True, db_index=False)
    # The job, the movement or the hosted work that the event reports.
    about = models.UUIDField(null=True)
    type = models.CharField(max_length=100)
    body = models.BinaryField()
    request_id = models.CharField(max_length=128, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [
            models.Index(fields=["created_at"], name="events_by_age"),
            models.Index(
                fields=["about"],
                condition=Q(about__isnull=False),
                name="events_about_a_job",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type}, {self.created_at:%Y-%m-%d %H:%M} UTC"


class Delivery(models.Model):
    """One event on its way to one endpoint.

    A worker takes a pending delivery at `due_at`:

    1. The worker writes `lease`, the id of the attempt, and moves `due_at` on.
    2. While the request runs, the worker renews the lease by moving `due_at` on again.
    3. A worker that dies stops renewing, so the delivery becomes due again.

    `tries` counts the attempts since the delivery was last requested, `attempts` all.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELED = "canceled"

    class Trigger(models.TextChoices):
        AUTO = "auto"
        MANUAL = "manual"
        RECOVERY = "recovery"
        TEST = "test"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    event = models.ForeignKey(Event, on_delete=models.PROTECT, db_index=False)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, db_index=False)
    state = models.CharField(max_length=9, choices=State, default=State.PENDING)
    trigger = models.CharField(max_length=8, choices=Trigger, default=Trigger.AUTO)
    due_at = models.DateTimeField(db_default=Now())
    lease = models.UUIDField(null=True)
    tries = models.PositiveSmallIntegerField(default=0)
    attempts = models.PositiveIntegerField(default=0)
    interruptions = models.PositiveSmallIntegerField(default=0)
    last_status = models.PositiveSmallIntegerField(null=True)
    last_error = models.CharField(max_length=20, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(
                fields=["event", "endpoint"], name="an_endpoint_hears_an_event_once"
            ),
            models.CheckConstraint(
                condition=Q(state="pending", ended_at__isnull=True)
                | (~Q(state="pending") & Q(ended_at__isnull=False, lease__isnull=True)),
                name="ended_deliveries_say_when",
            ),
        ]
        indexes = [
            models.Index(
                fields=["endpoint", "due_at"],
                condition=Q(state="pending"),
                name="deliveries_due",
            ),
            models.Index(
                fields=["endpoint"],
                condition=Q(lease__isnull=False),
                name="deliveries_in_flight",
            ),
            models.Index(
                fields=["endpoint", "-created_at", "-id"], name="deliveries_listed"
            ),
            models.Index(
                fields=["ended_at"],
                condition=Q(ended_at__isnull=False),
                name="deliveries_by_end",
            ),
        ]

    def __str__(self) -> str:
        return f"delivery of {self.created_at:%Y-%m-%d %H:%M} UTC"


class Attempt(models.Model):
    """One request to an endpoint, written before the request and completed once after.

    A trigger in the database refuses any other change, and a deletion within 30 days.
    """

    class State(models.TextChoices):
        RUNNING = "running"
        DONE = "done"
        INTERRUPTED = "interrupted"

    id = models.UUIDField(primary_key=True, editable=False)
    delivery = models.ForeignKey(Delivery, on_delete=models.PROTECT, db_index=False)
    n = models.PositiveIntegerField()
    trigger = models.CharField(max_length=8, choices=Delivery.Trigger)
    state = models.CharField(max_length=11, choices=State, default=State.RUNNING)
    started_at = models.DateTimeField(db_default=Now())
    duration_ms = models.PositiveIntegerField(null=True)
    status = models.PositiveSmallIntegerField(null=True)
    error = models.CharField(max_length=20, blank=True)
    ip = models.GenericIPAddressField(null=True)
    # The beginning of the answer's body, at most 8 KiB, for finding mistakes.
    answer = models.BinaryField(default=b"")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["delivery", "n"], name="attempts_in_order")
        ]

    def __str__(self) -> str:
        return f"attempt {self.n}"
