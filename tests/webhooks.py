"""Make endpoints and deliveries for tests."""

from typing import Any

from accounts.models import User
from jobs.models import Delivery, Endpoint
from jobs.webhooks import endpoints, redelivery


def register_endpoint(
    user: User, url: str = "http://127.0.0.1:1099/", **more: Any
) -> Endpoint:
    found = endpoints.register(user=user, url=url, events=["test"]).endpoint
    Endpoint.objects.filter(pk=found.pk).update(**more)
    found.refresh_from_db()
    return found


def send_test_events(to: Endpoint, times: int = 1) -> list[Delivery]:
    return [redelivery.test(user=to.account, endpoint_id=to.pk) for _ in range(times)]


def refreshed(row: Delivery) -> Delivery:
    row.refresh_from_db()
    return row
