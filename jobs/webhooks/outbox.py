"""Events and their deliveries, written in the transaction of the change they report.

An event is addressed to one account. Each enabled endpoint of that account that
subscribes to the event's type gets one delivery; without such an endpoint nothing is
written. A rollback of the change removes its event as well. `jobs.webhooks.delivery`
sends the deliveries later.
"""

import os
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, LiteralString

from focus import nudges
from focus.database.statements import tuples, with_items
from focus.logs import request_id
from jobs.models import Endpoint
from jobs.webhooks.js_stringify import js_stringify

TEST = "test"
# The event types of today. An endpoint may subscribe to other names ahead of time.
TYPES = [
    "job.created",
    "job.completed",
    "job.failed",
    "job.expired",
    "credits.consumed",
    "export.ready",
    "export.failed",
    "detection.complete",
    TEST,
]


def has_endpoint(account: LiteralString) -> LiteralString:
    """A column that says whether `account`, an SQL expression, has an enabled endpoint.

    A caller adds it to a query that it runs anyway. Where it is false, the caller
    skips `write`, so an account without endpoints costs no statement.
    """
    return f"""
      EXISTS (SELECT FROM jobs_endpoint e WHERE e.account_id = {account}
        AND e.deleted_at IS NULL AND e.disabled_at IS NULL)
    """


# A closed account must not receive data about other people, so it receives no events.
_SUBSCRIBED: LiteralString = """
    e.account_id = %(listener)s AND e.deleted_at IS NULL AND e.disabled_at IS NULL
      AND %(event_type)s = ANY (e.events)
      AND EXISTS (SELECT FROM accounts_user u WHERE u.id = e.account_id AND u.is_active)
"""
# The rows for the endpoints in the item `listeners`, which the statement puts first.
_ROWS: dict[str, LiteralString] = {
    "event": """
      INSERT INTO jobs_event (id, account_id, app_id, about, type, body, request_id)
      SELECT %(event)s, %(listener)s, %(event_app)s, %(event_about)s, %(event_type)s,
        %(event_body)s, %(event_request)s
      WHERE EXISTS (SELECT FROM listeners)
    """,
    "deliveries": """
      INSERT INTO jobs_delivery (id, event_id, endpoint_id, state, trigger, tries,
        attempts, interruptions, last_error)
      SELECT gen_random_uuid(), %(event)s, listeners.id, 'pending', %(event_trigger)s,
        0, 0, 0, '' FROM listeners
    """,
}
# The `items` of a `ledger.Consequence`, with the parameters of `event_params`. They
# write the event in the movement's own statement, if the movement's outcome is
# `event_if`.
AFTER_MOVEMENT: dict[str, LiteralString] = {
    "listeners": f"""
      SELECT e.id FROM moved, jobs_endpoint e
      WHERE moved.outcome = %(event_if)s AND {_SUBSCRIBED}
    """,  # noqa: S608 — our own fragments
    **_ROWS,
}

# The `columns` for the same statement: the number of deliveries that it wrote.
DELIVERIES: dict[str, LiteralString] = {"deliveries": "SELECT count(*) FROM listeners"}


def _statement(listeners: LiteralString) -> LiteralString:
    items = with_items({"listeners": listeners, **_ROWS})
    return f"WITH {items} SELECT count(*) FROM listeners"  # noqa: S608 — our own


_WRITE = _statement(f"SELECT e.id FROM jobs_endpoint e WHERE {_SUBSCRIBED}")  # noqa: S608
_WRITE_TO_ONE = _statement("SELECT %(endpoint)s::uuid AS id")


def write(
    *,
    account_id: uuid.UUID,
    name: str,
    about: uuid.UUID,
    data: Any,
    app_id: uuid.UUID | None = None,
) -> int:
    """Write an event of type `name` for an account; returns the number of deliveries.

    Takes one statement, and wakes the courier after the commit. The caller's
    transaction must be that of the change itself: of the job, the movement or the
    hosted work `about`. `app_id` names the app that the event concerns. `data` may hold
    anything that `js_stringify` writes.
    """
    params = event_params(
        account_id=account_id, app_id=app_id, name=name, about=about, data=data
    )
    [[deliveries]] = tuples(_WRITE, params)
    wake_courier_for(deliveries=deliveries)
    return int(deliveries)


def wake_courier_for(*, deliveries: int) -> None:
    """Wake the courier after the commit if the transaction wrote deliveries.

    `write` and `write_test` do so themselves. A caller that writes an event by
    `AFTER_MOVEMENT` passes the value of `DELIVERIES`.
    """
    if deliveries:
        nudges.wake_courier()


def write_test(endpoint: Endpoint) -> uuid.UUID:
    """Write a `test` event for one endpoint, subscribed or not; returns the event's id.

    Takes one statement.
    """
    data = {"endpoint_id": endpoint.pk, "message": "This endpoint receives webhooks."}
    params = event_params(
        account_id=endpoint.account_id, app_id=None, name=TEST, about=None, data=data
    )
    to_one = {**params, "endpoint": endpoint.pk, "event_trigger": "test"}
    [[deliveries]] = tuples(_WRITE_TO_ONE, to_one)
    wake_courier_for(deliveries=deliveries)
    event_id: uuid.UUID = params["event"]
    return event_id


def event_params(
    *,
    account_id: uuid.UUID,
    app_id: uuid.UUID | None,
    name: str,
    about: uuid.UUID | None,
    data: Any,
) -> Mapping[str, Any]:
    """The parameters of one new event, for `AFTER_MOVEMENT` beside `event_if`."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    body = {"event": name, "data": data, "timestamp": now.replace("+00:00", "Z")}
    return {
        "listener": account_id,
        "event": _uuid7(),
        "event_app": app_id,
        "event_about": about,
        "event_type": name,
        "event_body": js_stringify(body),
        "event_request": request_id.get(),
        "event_trigger": "auto",
    }


def _uuid7() -> uuid.UUID:
    """Return an id that grows with time (RFC 9562, 5.7).

    New rows then stand together in the index.
    """
    random = int.from_bytes(os.urandom(10)) & ~(0xF << 76 | 0x3 << 62)
    return uuid.UUID(
        int=time.time_ns() // 1_000_000 << 80 | random | 0x7 << 76 | 0x2 << 62
    )
