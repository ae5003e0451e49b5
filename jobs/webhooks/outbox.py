"""What happened, written with what it tells of: an event and its deliveries.

Both are written in the transaction of the thing itself, so neither is there without
the other. `jobs.webhooks.delivery` does the rest, whenever it runs. An event goes to
each endpoint of the app's owner that subscribes to its type. Without such an endpoint,
nothing is written.
"""

import os
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, LiteralString

from accounts.models import App
from focus.database.statements import tuples, with_items
from focus.logs import request_id
from jobs.models import Endpoint
from jobs.webhooks.js_stringify import js_stringify

TEST = "test"
# What the platform tells of today. An endpoint may ask for other names ahead of time.
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

# Whether anybody listens to the owner of the app `a`: a column for a query that reads
# the app anyway, so that an app without endpoints costs nothing more.
LISTENS: LiteralString = """
    EXISTS (SELECT FROM jobs_endpoint e WHERE e.account_id = a.owner_id
      AND e.deleted_at IS NULL AND e.disabled_at IS NULL)
"""
# Whoever was shut out is told nothing of other people, either.
_LISTENERS: LiteralString = """
    e.account_id = %(owner)s AND e.deleted_at IS NULL AND e.disabled_at IS NULL
      AND %(event_type)s = ANY (e.events)
      AND EXISTS (SELECT FROM accounts_user u WHERE u.id = e.account_id AND u.is_active)
"""
# What is written for those who are `told`.
_WRITTEN: dict[str, LiteralString] = {
    "event": """
      INSERT INTO jobs_event (id, account_id, app_id, about, type, body, request_id)
      SELECT %(event)s, %(owner)s, %(event_app)s, %(event_about)s, %(event_type)s,
        %(event_body)s, %(event_request)s
      WHERE EXISTS (SELECT FROM told)
    """,
    "deliveries": """
      INSERT INTO jobs_delivery (id, event_id, endpoint_id, state, trigger, tries,
        attempts, interruptions, last_error)
      SELECT gen_random_uuid(), %(event)s, told.id, 'pending', %(event_trigger)s,
        0, 0, 0, '' FROM told
    """,
}
# The `items` of a `ledger.Then`. Nothing is told unless the movement was made.
AND_TELL: dict[str, LiteralString] = {
    "told": f"""
      SELECT e.id FROM moved, jobs_endpoint e
      WHERE moved.outcome = %(tell_if)s AND {_LISTENERS}
    """,  # noqa: S608 — our own fragments
    **_WRITTEN,
}


def _statement(told: LiteralString) -> LiteralString:
    items = with_items({"told": told, **_WRITTEN})
    return f"WITH {items} SELECT count(*) FROM told"  # noqa: S608 — our own fragments


_WRITE = _statement(f"SELECT e.id FROM jobs_endpoint e WHERE {_LISTENERS}")  # noqa: S608
_WRITE_TO = _statement("SELECT %(endpoint)s::uuid AS id")


def write(*, app: App, name: str, about: uuid.UUID, data: Any) -> int:
    """Tell the endpoints of the app's owner; returns how many listen. One statement.

    Must run in the transaction of what it tells of: the job or the movement `about`.
    `data` is written as JavaScript would (`js_stringify`), whatever is in it.
    """
    if app.owner_id is None:
        return 0
    told = tuples(_WRITE, params(app=app, name=name, about=about, data=data))
    return int(told[0][0])


def write_test(endpoint: Endpoint) -> uuid.UUID:
    """Tell one endpoint a `test` event, asked for or not; returns the event's id."""
    data = {"endpoint_id": endpoint.pk, "message": "This endpoint hears us."}
    made = _params(endpoint.account_id, None, TEST, None, data)
    tuples(_WRITE_TO, {**made, "endpoint": endpoint.pk, "event_trigger": "test"})
    event_id: uuid.UUID = made["event"]
    return event_id


def params(*, app: App, name: str, about: uuid.UUID, data: Any) -> Mapping[str, Any]:
    """What `AND_TELL` needs, beside `tell_if`: the movement's outcome to tell of."""
    return _params(app.owner_id, app.pk, name, about, data)


def _params(
    owner_id: uuid.UUID | None,
    app_id: uuid.UUID | None,
    name: str,
    about: uuid.UUID | None,
    data: Any,
) -> Mapping[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    told = {"event": name, "data": data, "timestamp": now.replace("+00:00", "Z")}
    return {
        "owner": owner_id,
        "event": _uuid7(),
        "event_app": app_id,
        "event_about": about,
        "event_type": name,
        "event_body": js_stringify(told),
        "event_request": request_id.get(),
        "event_trigger": "auto",
    }


def _uuid7() -> uuid.UUID:
    """Ids that grow with time keep the index's new rows together (RFC 9562, 5.7)."""
    random = int.from_bytes(os.urandom(10)) & ~(0xF << 76 | 0x3 << 62)
    return uuid.UUID(
        int=time.time_ns() // 1_000_000 << 80 | random | 0x7 << 76 | 0x2 << 62
    )
