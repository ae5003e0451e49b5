"""Deliveries: claim due ones, send them, and record what the endpoints answered.

A delivery has the steps of every row queue (`focus.due`):

1. `claim` writes the attempt and a lease in one short transaction.
2. `send` makes the request with no transaction open; `renew` is the heartbeat.
3. `record` writes the outcome, only where the delivery still carries the lease.

If a worker dies in between, its lease ends and the delivery is due again. So a receiver
may get an event twice, and never not at all.

The statements are here and not in `focus.due`, because they handle many rows at once.
`claim` counts the requests in flight to each endpoint under the endpoint's lock, and
writes the attempts. `record` writes a batch of outcomes and attempts. One row at a time
would cost four round trips and a commit for each delivery.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts import mails, sealed
from focus.database.statements import rows, tuples
from focus.outgoing import safe_http
from focus.outgoing.safe_http import PostResult
from jobs.models import Delivery, Endpoint
from jobs.webhooks import endpoints, signatures
from jobs.webhooks.verdicts import Verdict, judge

log = logging.getLogger(__name__)

# A living courier renews its leases long before this.
LEASE_SECONDS = 15
# A delivery fails after so many workers have died while they sent it.
INTERRUPTIONS = 3
# How many requests an endpoint gets at once, and an endpoint that failed or was slow.
AT_ONCE = 4
AT_ONCE_IN_TROUBLE = 1
SLOW_MS = 5000


@dataclass(frozen=True)
class Claimed:
    """A delivery that this worker has claimed, with all that its request needs."""

    lease: UUID
    delivery: UUID
    endpoint: UUID
    n: int
    tries: int
    event: UUID
    type: str
    body: bytes = field(repr=False)
    request_id: str
    url: str
    secret: bytes = field(repr=False)
    next_secret: bytes | None = field(repr=False)
    promotes_at: datetime | None
    troubled: bool
    failing: bool


@dataclass(frozen=True)
class Sent:
    """The answer to a claimed delivery, and when it came (`time.monotonic`)."""

    claimed: Claimed
    answer: PostResult
    at: float


def claim(*, limit: int, in_trouble: int) -> list[Claimed]:
    """Claim at most `limit` due deliveries, at most `in_trouble` to troubled endpoints.

    The endpoint with the oldest due delivery goes first. All workers together hold at
    most `AT_ONCE` deliveries of an endpoint.
    """
    if limit <= 0:
        return []
    with transaction.atomic():
        # Two statements: the second one counts what is in flight under the endpoints'
        # locks, in a fresh snapshot.
        asked = {"limit": limit, "many": AT_ONCE, "few": AT_ONCE_IN_TROUBLE}
        waiting = tuples(_WAITING, {**asked, "in_trouble": in_trouble})
        if not waiting:
            return []
        chosen, shares = _shares(waiting, limit, in_trouble)
        found = rows(
            _CLAIM,
            {
                "endpoints": chosen,
                "shares": shares,
                "caps": [_cap(row[1]) for row in waiting],
                "lease": LEASE_SECONDS,
                "interruptions": INTERRUPTIONS,
            },
        )
    for row in found:
        row["body"], row["secret"] = bytes(row["body"]), bytes(row["secret"])
    return [Claimed(**row) for row in found]


def _cap(troubled: bool) -> int:
    return AT_ONCE_IN_TROUBLE if troubled else AT_ONCE


def _shares(
    waiting: list[tuple[UUID, bool, int, str]], limit: int, in_trouble: int
) -> tuple[list[UUID], list[int]]:
    """Share `limit` out among the waiting endpoints, in their order, up to each cap.

    Returns the endpoints and their shares.
    """
    chosen, shares = [], []
    for endpoint, troubled, flying, _ in waiting:
        share = min(_cap(troubled) - flying, in_trouble if troubled else limit, limit)
        chosen.append(endpoint)
        shares.append(share)
        limit -= share
        if troubled:
            in_trouble -= share
    return chosen, shares


# The commit does not wait for the disk: a claim that a crash of PostgreSQL loses is
# made again. The recursive part skips through the index from endpoint to endpoint, so
# the number of waiting deliveries does not matter.
_WAITING: LiteralString = """
    WITH RECURSIVE waiting AS (
      (SELECT endpoint_id FROM jobs_delivery WHERE state = 'pending'
       ORDER BY endpoint_id LIMIT 1)
      UNION ALL
      SELECT (SELECT d.endpoint_id FROM jobs_delivery d
        WHERE d.state = 'pending' AND d.endpoint_id > w.endpoint_id
        ORDER BY d.endpoint_id LIMIT 1)
      FROM waiting w WHERE w.endpoint_id IS NOT NULL
    )
    SELECT e.id, e.troubled, flying.n, set_config('synchronous_commit', 'off', true)
    FROM waiting w
    JOIN jobs_endpoint e ON e.id = w.endpoint_id
    CROSS JOIN LATERAL (SELECT d.due_at FROM jobs_delivery d
      WHERE d.endpoint_id = e.id AND d.state = 'pending'
      ORDER BY d.due_at LIMIT 1) first
    CROSS JOIN LATERAL (SELECT count(*)::int AS n FROM jobs_delivery d
      WHERE d.endpoint_id = e.id AND d.lease IS NOT NULL
        AND d.due_at > clock_timestamp()) flying
    WHERE first.due_at <= clock_timestamp()
      AND flying.n < CASE WHEN e.troubled THEN %(few)s ELSE %(many)s END
      AND (NOT e.troubled OR %(in_trouble)s > 0)
      AND e.disabled_at IS NULL AND e.deleted_at IS NULL
      AND (e.paused_until IS NULL OR e.paused_until <= clock_timestamp())
    ORDER BY first.due_at LIMIT %(limit)s
    FOR NO KEY UPDATE OF e SKIP LOCKED
"""
# A due delivery with a lease is one that a dead worker left.
_CLAIM: LiteralString = """
    WITH asked AS (
      SELECT * FROM unnest(%(endpoints)s::uuid[], %(shares)s::int[], %(caps)s::int[])
        AS a (endpoint_id, share, cap)
    ),
    picked AS (
      SELECT d.id, d.lease AS broken,
        d.lease IS NOT NULL AND d.interruptions + 1 >= %(interruptions)s AS poison
      FROM asked a CROSS JOIN LATERAL (
        SELECT d.* FROM jobs_delivery d
        WHERE d.endpoint_id = a.endpoint_id AND d.state = 'pending'
          AND d.due_at <= clock_timestamp()
        ORDER BY d.due_at
        LIMIT least(a.share, greatest(0, a.cap - (
          SELECT count(*) FROM jobs_delivery f WHERE f.endpoint_id = a.endpoint_id
            AND f.lease IS NOT NULL AND f.due_at > clock_timestamp())))
        FOR NO KEY UPDATE SKIP LOCKED
      ) d
    ),
    interrupted AS (
      UPDATE jobs_attempt t SET state = 'interrupted', error = 'interrupted'
      FROM picked p WHERE t.id = p.broken AND t.state = 'running'
    ),
    poisoned AS (
      UPDATE jobs_delivery d SET state = 'failed', last_error = 'interrupted',
        lease = NULL, ended_at = clock_timestamp(), interruptions = d.interruptions + 1
      FROM picked p WHERE d.id = p.id AND p.poison
    ),
    claimed AS (
      UPDATE jobs_delivery d SET lease = gen_random_uuid(),
        due_at = clock_timestamp() + make_interval(secs => %(lease)s),
        attempts = d.attempts + 1,
        interruptions = d.interruptions + (p.broken IS NOT NULL)::int
      FROM picked p WHERE d.id = p.id AND NOT p.poison
      RETURNING d.*
    ),
    started AS (
      INSERT INTO jobs_attempt (id, delivery_id, n, trigger, state, started_at, error,
        answer)
      SELECT lease, id, attempts, trigger, 'running', clock_timestamp(), '', ''
      FROM claimed
    )
    SELECT c.lease, c.id AS delivery, c.endpoint_id AS endpoint, c.attempts AS n,
      c.tries, v.id AS event, v.type, v.body, v.request_id, e.url, e.secret,
      e.next_secret, e.promotes_at, e.troubled, e.failing_since IS NOT NULL AS failing
    FROM claimed c JOIN jobs_endpoint e ON e.id = c.endpoint_id
    JOIN jobs_event v ON v.id = c.event_id
"""


def renew(leases: Sequence[UUID]) -> None:
    """Begin these leases again. A lease that another worker replaced stays lost."""
    tuples(_RENEW, {"leases": list(leases), "lease": LEASE_SECONDS})


_RENEW: LiteralString = """
    UPDATE jobs_delivery
    SET due_at = clock_timestamp() + make_interval(secs => %(lease)s)
    WHERE lease = ANY (%(leases)s::uuid[]) RETURNING 1
"""


def send(claimed: Claimed) -> Sent:
    """Make the request and wait for its answer. Uses no database and never raises."""
    try:
        headers = _headers(claimed)
    except sealed.Unreadable:
        log.error("webhook endpoint %s: its secret cannot be read", claimed.endpoint)
        answer = PostResult(error="unreadable_secret")
    else:
        answer = safe_http.post(claimed.url, claimed.body, headers)
    return Sent(claimed, answer, time.monotonic())


def _headers(claimed: Claimed) -> dict[str, str]:
    now = timezone.now()
    secret, next_secret = endpoints.secrets_of(
        claimed.secret, claimed.next_secret, claimed.promotes_at, now=now
    )
    made = {
        "Content-Type": "application/json",
        "User-Agent": f"Focus-Webhooks/1 (+{settings.PUBLIC_BASE_URL}/api/docs)",
        "X-Webhook-Event": claimed.type,
        "X-Webhook-Attempt": str(claimed.n),
        **signatures.headers(
            message=signatures.message_id(claimed.event),
            at=int(now.timestamp()),
            body=claimed.body,
            secret=secret,
            next_secret=next_secret,
        ),
    }
    if claimed.request_id:
        made["X-Request-ID"] = claimed.request_id
    return made


@transaction.atomic
def record(sent: Sequence[Sent]) -> list[float]:
    """Record the answers in one transaction.

    Returns the waits, in seconds, of the deliveries that are tried again. A delivery
    that has lost its lease does not change. Locks the endpoints that have news, then
    the deliveries.
    """
    verdicts = [judge(one.answer, tries=one.claimed.tries) for one in sent]
    with_news = {
        one.claimed.endpoint
        for one, verdict in zip(sent, verdicts, strict=True)
        if _is_news(one, verdict)
    }
    # Endpoints before deliveries: the lock order of all code.
    locked = Endpoint.objects.select_for_update(no_key=True, of=["self"])
    changed = {e.pk: e for e in locked.filter(pk__in=with_news).order_by("pk")}
    kept = dict(tuples(_RECORD, _columns(sent, verdicts)))
    for one, verdict in zip(sent, verdicts, strict=True):
        if one.claimed.endpoint in changed and one.claimed.lease in kept:
            _update_endpoint(changed[one.claimed.endpoint], one.answer, verdict)
    return [wait for wait in kept.values() if wait is not None]


_RECORD: LiteralString = """
    WITH answered AS (
      SELECT * FROM unnest(%(leases)s::uuid[], %(deliveries)s::uuid[],
        %(states)s::text[], %(waits)s::float8[], %(statuses)s::int[],
        %(errors)s::text[], %(durations)s::int[], %(ips)s::text[], %(answers)s::bytea[])
        AS t (lease, delivery_id, state, wait, status, error, duration_ms, ip, answer)
    ),
    attempts AS (
      UPDATE jobs_attempt a SET state = 'done', status = t.status, error = t.error,
        duration_ms = t.duration_ms, ip = t.ip::inet, answer = t.answer
      FROM answered t WHERE a.id = t.lease AND a.state = 'running'
    )
    UPDATE jobs_delivery d SET state = t.state, lease = NULL, tries = d.tries + 1,
      interruptions = 0, last_status = t.status, last_error = t.error,
      due_at = clock_timestamp() + make_interval(secs => coalesce(t.wait, 0)),
      ended_at = CASE WHEN t.state <> 'pending' THEN clock_timestamp() END
    FROM answered t
    WHERE d.id = t.delivery_id AND d.lease = t.lease AND d.state = 'pending'
    RETURNING t.lease, CASE WHEN d.state = 'pending' THEN
      extract(epoch FROM d.due_at - clock_timestamp())::float8 END
"""


def _columns(sent: Sequence[Sent], verdicts: Sequence[Verdict]) -> Mapping[str, Any]:
    now = time.monotonic()
    waits = [
        None if verdict.wait_seconds is None else verdict.wait_seconds - (now - one.at)
        for one, verdict in zip(sent, verdicts, strict=True)
    ]
    return {
        "leases": [one.claimed.lease for one in sent],
        "deliveries": [one.claimed.delivery for one in sent],
        "states": [verdict.state for verdict in verdicts],
        "waits": waits,
        "statuses": [one.answer.status for one in sent],
        "errors": [one.answer.error for one in sent],
        "durations": [one.answer.duration_ms for one in sent],
        "ips": [one.answer.ip for one in sent],
        "answers": [one.answer.body for one in sent],
    }


def _in_trouble(answer: PostResult, verdict: Verdict) -> bool:
    return verdict.wait_seconds is not None or answer.duration_ms > SLOW_MS


def _is_news(one: Sent, verdict: Verdict) -> bool:
    """Whether the answer changes the endpoint's own row."""
    return (
        verdict.state == Delivery.State.FAILED
        or one.claimed.failing
        or one.claimed.troubled != _in_trouble(one.answer, verdict)
    )


def _update_endpoint(endpoint: Endpoint, answer: PostResult, verdict: Verdict) -> None:
    """Update a locked endpoint by an answer, and disable it where that is due."""
    now = timezone.now()
    endpoint.troubled = _in_trouble(answer, verdict)
    if verdict.pause_seconds:
        endpoint.paused_until = now + timedelta(seconds=verdict.pause_seconds)
    if verdict.state == Delivery.State.SUCCEEDED:
        endpoint.failing_since, endpoint.given_up = None, 0
    elif verdict.state == Delivery.State.FAILED:
        endpoint.given_up += 1
        if endpoint.failing_since is None:
            endpoint.failing_since = now
            _mail_failing(endpoint)
    fields = ["troubled", "paused_until", "failing_since", "given_up"]
    endpoint.save(update_fields=fields)
    reason = verdict.disable
    if not reason and _is_given_up(endpoint, now):
        reason = Endpoint.Disabled.FAILING
    if reason and endpoint.disabled_at is None and endpoint.deleted_at is None:
        endpoints.disable_locked(endpoint, because=reason)


def _is_given_up(endpoint: Endpoint, now: datetime) -> bool:
    since = endpoint.failing_since
    return (
        since is not None
        and now - since >= endpoints.FAILING
        and endpoint.given_up >= endpoints.GIVEN_UP
    )


def _mail_failing(endpoint: Endpoint) -> None:
    """Mail the owner at the first failed delivery since the last that succeeded."""
    mails.write(
        user=endpoint.account,
        subject="Deliveries to a webhook endpoint fail",
        what=f"A delivery to the webhook endpoint {endpoint.pk} failed after all "
        "retries. Focus keeps failed deliveries for 30 days, and you can replay them.",
    )
