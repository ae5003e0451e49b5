"""Redelivery: one delivery, all failed deliveries of a period, or a test event.

A redelivery sends the same event, byte for byte and with the same `webhook-id`. It gets
as many tries as a first delivery.
"""

import uuid
from datetime import datetime
from typing import LiteralString

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import User
from focus.database.statements import tuples
from focus.errors import NotFound
from jobs.models import Attempt, Delivery, Endpoint
from jobs.webhooks import endpoints, outbox, signatures
from jobs.webhooks.endpoints import EndpointDisabled

# The largest number of deliveries that one recovery takes. A repeat takes the rest.
MOST = 10_000
State, Trigger = Delivery.State, Delivery.Trigger


def listed(
    *, user: User, endpoint_id: uuid.UUID, state: str | None = None
) -> QuerySet[Delivery]:
    """Return an endpoint's deliveries, newest first. Raises `NotFound`."""
    endpoint = endpoints.find(user=user, endpoint_id=endpoint_id)
    found = Delivery.objects.filter(endpoint=endpoint).select_related("event")
    if state is not None:
        found = found.filter(state=state)
    return found.order_by("-created_at", "-id")


def latest(*, user: User, limit: int) -> QuerySet[Delivery]:
    """Return the latest deliveries to the endpoints of `user`, newest first.

    Reads `limit` rows of each endpoint by the index.
    """
    found = tuples(_LATEST, {"account": user.pk, "limit": limit})
    rows = Delivery.objects.filter(pk__in=[pk for (pk,) in found])
    return rows.select_related("event", "endpoint").order_by("-created_at", "-id")


# The newest of each endpoint, by the index; then the newest among those.
_LATEST: LiteralString = """
    SELECT d.id FROM jobs_endpoint e CROSS JOIN LATERAL (
      SELECT id, created_at FROM jobs_delivery WHERE endpoint_id = e.id
      ORDER BY created_at DESC, id DESC LIMIT %(limit)s
    ) d
    WHERE e.account_id = %(account)s AND e.deleted_at IS NULL
    ORDER BY d.created_at DESC, d.id DESC LIMIT %(limit)s
"""


def find(*, user: User, delivery_id: uuid.UUID) -> Delivery:
    """Read one delivery to an endpoint of `user`. Raises `NotFound`."""
    mine = Delivery.objects.filter(endpoint__account=user, pk=delivery_id)
    delivery = mine.select_related("event", "endpoint").first()
    if delivery is None:
        raise NotFound("There is no such delivery.")
    return delivery


def attempts(*, delivery: Delivery) -> QuerySet[Attempt]:
    """Return every attempt at a delivery, oldest first."""
    return Attempt.objects.filter(delivery=delivery).order_by("n")


def signed_copy(*, user: User, delivery_id: uuid.UUID) -> tuple[bytes, dict[str, str]]:
    """Return a delivery's body and the headers that sign the body now.

    A deleted endpoint has no secret, so there are no headers. Raises `NotFound`.
    """
    delivery = find(user=user, delivery_id=delivery_id)
    body, endpoint, now = bytes(delivery.event.body), delivery.endpoint, timezone.now()
    if endpoint.deleted_at is not None:
        return body, {}
    following = endpoint.next_secret
    secret, next_secret = endpoints.secrets_of(
        bytes(endpoint.secret),
        None if following is None else bytes(following),
        endpoint.promotes_at,
        now=now,
    )
    return body, signatures.headers(
        message=signatures.message_id(delivery.event_id),
        at=int(now.timestamp()),
        body=body,
        secret=secret,
        next_secret=next_secret,
    )


@transaction.atomic
def resend(*, user: User, delivery_id: uuid.UUID) -> Delivery:
    """Queue an ended delivery again; a pending one stays as it is.

    Raises `NotFound` and `EndpointDisabled`.
    """
    delivery = find(user=user, delivery_id=delivery_id)
    _lock_enabled(user, delivery.endpoint_id)
    _requeue(Delivery.objects.filter(pk=delivery.pk), Trigger.MANUAL)
    return find(user=user, delivery_id=delivery_id)


@transaction.atomic
def recover(
    *,
    user: User,
    endpoint_id: uuid.UUID,
    since: datetime | None = None,
    until: datetime | None = None,
) -> int:
    """Queue failed deliveries again, oldest first; returns how many, at most `MOST`.

    `since` and `until` limit the time of the delivery's creation; `until` is excluded.
    Raises `NotFound` and `EndpointDisabled`.
    """
    endpoint = _lock_enabled(user, endpoint_id)
    failed = Delivery.objects.filter(endpoint=endpoint, state=State.FAILED)
    if since is not None:
        failed = failed.filter(created_at__gte=since)
    if until is not None:
        failed = failed.filter(created_at__lt=until)
    oldest = failed.order_by("created_at", "pk").values_list("pk", flat=True)
    return _requeue(
        Delivery.objects.filter(pk__in=list(oldest[:MOST])), Trigger.RECOVERY
    )


@transaction.atomic
def test(*, user: User, endpoint_id: uuid.UUID) -> Delivery:
    """Write a `test` event for an endpoint and return its delivery.

    Raises `NotFound` and `EndpointDisabled`.
    """
    event_id = outbox.write_test(_lock_enabled(user, endpoint_id))
    deliveries = Delivery.objects.select_related("event", "endpoint")
    return deliveries.get(event=event_id, endpoint=endpoint_id)


def _lock_enabled(user: User, endpoint_id: uuid.UUID) -> Endpoint:
    locked = endpoints.listed(user=user).select_for_update(no_key=True, of=["self"])
    endpoint = locked.filter(pk=endpoint_id).first()
    if endpoint is None:
        raise NotFound("There is no such endpoint.")
    if endpoint.disabled_at is not None:
        raise EndpointDisabled("The endpoint is disabled; enable it first.")
    return endpoint


def _requeue(deliveries: QuerySet[Delivery], trigger: str) -> int:
    count = deliveries.exclude(state=State.PENDING).update(
        state=State.PENDING,
        trigger=trigger,
        tries=0,
        interruptions=0,
        due_at=Now(),
        ended_at=None,
    )
    outbox.wake_courier_for(deliveries=count)
    return count
