"""Sending again: one delivery, all that failed in a while, or a test.

What is sent again is the same event, byte for byte and with the same `webhook-id`, and
gets as many tries as it had at first.
"""

import uuid
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from accounts.models import User
from focus.errors import NotFound
from jobs import endpoints, outbox
from jobs.endpoints import EndpointDisabled
from jobs.models import Attempt, Delivery, Endpoint

# How many one recovery takes; asked again, it goes on with the rest.
MOST = 10_000
State, Trigger = Delivery.State, Delivery.Trigger


def listed(
    *, user: User, endpoint_id: uuid.UUID, state: str | None = None
) -> QuerySet[Delivery]:
    """An endpoint's deliveries, newest first. Raises `NotFound`."""
    endpoint = endpoints.find(user=user, endpoint_id=endpoint_id)
    found = Delivery.objects.filter(endpoint=endpoint).select_related("event")
    if state is not None:
        found = found.filter(state=state)
    return found.order_by("-created_at", "-id")


def find(*, user: User, delivery_id: uuid.UUID) -> Delivery:
    """One of the deliveries of `user`. Raises `NotFound`."""
    mine = Delivery.objects.filter(endpoint__account=user, pk=delivery_id)
    delivery = mine.select_related("event", "endpoint").first()
    if delivery is None:
        raise NotFound("There is no such delivery.")
    return delivery


def attempts(*, delivery: Delivery) -> QuerySet[Attempt]:
    """Every attempt there was, in order."""
    return Attempt.objects.filter(delivery=delivery).order_by("n")


@transaction.atomic
def resend(*, user: User, delivery_id: uuid.UUID) -> Delivery:
    """Send one again, whatever came of it. One that is still on its way stays as it is.

    Raises `NotFound` and `EndpointDisabled`.
    """
    delivery = find(user=user, delivery_id=delivery_id)
    _open(user, delivery.endpoint_id)
    _again(Delivery.objects.filter(pk=delivery.pk), Trigger.MANUAL)
    return find(user=user, delivery_id=delivery_id)


@transaction.atomic
def recover(
    *,
    user: User,
    endpoint_id: uuid.UUID,
    since: datetime | None = None,
    until: datetime | None = None,
) -> int:
    """Send again what failed of the events of a while, oldest first; how many it is.

    Raises `NotFound` and `EndpointDisabled`.
    """
    endpoint = _open(user, endpoint_id)
    failed = Delivery.objects.filter(endpoint=endpoint, state=State.FAILED)
    if since is not None:
        failed = failed.filter(created_at__gte=since)
    if until is not None:
        failed = failed.filter(created_at__lt=until)
    oldest = failed.order_by("created_at", "pk").values_list("pk", flat=True)
    return _again(Delivery.objects.filter(pk__in=list(oldest[:MOST])), Trigger.RECOVERY)


@transaction.atomic
def test(*, user: User, endpoint_id: uuid.UUID) -> Delivery:
    """Send a `test` event. Raises `NotFound` and `EndpointDisabled`."""
    event_id = outbox.write_test(_open(user, endpoint_id))
    made = Delivery.objects.select_related("event", "endpoint")
    return made.get(event=event_id, endpoint=endpoint_id)


def _open(user: User, endpoint_id: uuid.UUID) -> Endpoint:
    mine = endpoints.listed(user=user).select_for_update(no_key=True, of=["self"])
    endpoint = mine.filter(pk=endpoint_id).first()
    if endpoint is None:
        raise NotFound("There is no such endpoint.")
    if endpoint.disabled_at is not None:
        raise EndpointDisabled("The endpoint is disabled; enable it first.")
    return endpoint


def _again(deliveries: QuerySet[Delivery], trigger: str) -> int:
    return deliveries.exclude(state=State.PENDING).update(
        state=State.PENDING, trigger=trigger, tries=0, due_at=Now(), ended_at=None
    )
