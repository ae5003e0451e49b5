"""Usage: 1sub's charge without a job, once per key for ever, and its sums.

A twin of a key that is being worked on waits for it, so both learn the one outcome.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import LiteralString
from uuid import UUID

from django.db import OperationalError, transaction
from psycopg.errors import LockNotAvailable

from accounts.models import App
from focus.database.statements import rows, tuples
from focus.errors import DomainError
from focus.money import from_micro
from jobs import outbox
from jobs.models import Job, Usage
from wallet import ledger

# What one charge may take, in credits.
MAX_AMOUNT = 1_000_000
LONGEST_KEY = 255
LONGEST_REASON = 500
DAYS = 30
# An entry's money key has 255 letters, and ours before it has 45.
_PLAIN_KEY = 200


class DuplicateRequest(DomainError):
    """The key has charged before. `is_duplicate` where it was this very request: then
    `transaction_id` and `new_balance` are what it was answered first.
    """

    code = "duplicate_request"


class StillInFlight(DuplicateRequest):
    """The first request with this key is still being worked on."""

    retry_after_seconds = 1


@dataclass(frozen=True, slots=True)
class Charged:
    """`balance_micro` is what the app could spend afterwards; `repeated` says that all
    of it is what was answered before.
    """

    movement_id: UUID
    balance_micro: int
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Day:
    """One day (UTC) of one app."""

    date: date
    calls: int
    charged_micro: int
    sales: int
    sold_micro: int


@dataclass(frozen=True, slots=True)
class Hosted:
    """What an account's work with one app came to within a month (UTC)."""

    minutes: float
    exports: int
    begins: datetime
    ends: datetime


def charge(
    *, account_id: UUID, app: App, amount_micro: int, reason: str, key: str, actor: str
) -> Charged:
    """Charge at once. The caller has made sure that the person lets the app.

    Raises `ledger.InsufficientCredits`, which stores nothing, and `DuplicateRequest`
    for a key that has charged: always where the request was another one, and for the
    same one as the app's duplicate mode says. Waits up to the lock timeout for a twin,
    then raises `StillInFlight`.
    """
    money_key = _money_key(app, key)
    stored = ledger.Then(_STORE, {"plain": key})
    try:
        with transaction.atomic():
            listens = _wait_for_a_twin(money_key, app)
            taken = ledger.consume(
                account_id=account_id,
                app=app,
                amount_micro=amount_micro,
                actor=actor,
                reason=reason,
                key=money_key,
                then=stored,
            )
            if listens and taken.created:
                data = {
                    "transaction_id": taken.movement_id,
                    "app": app.slug,
                    "user_id": account_id,
                    "amount": from_micro(amount_micro),
                    "reason": reason,
                    "idempotency_key": key,
                }
                about = taken.movement_id
                outbox.write(app=app, name="credits.consumed", about=about, data=data)
    except ledger.DuplicateKey:
        raise _used_otherwise() from None
    if taken.created:
        return Charged(taken.movement_id, taken.balance.credits_micro)
    first = Usage.objects.get(app=app, key=key)
    same = (first.account_id, first.amount_micro, first.reason)
    if same != (account_id, amount_micro, reason):
        raise _used_otherwise()
    return _again(app, first)


# Every answer is on its row, in the statement that moved the credits.
_STORE = """
    INSERT INTO jobs_usage (account_id, app_id, key, amount_micro, reason, movement_id,
      balance_after_micro, created_at)
    SELECT %(account)s, %(app)s, %(plain)s, %(amount)s, %(reason)s, moved.movement_id,
      moved.available_micro - moved.debt_micro - moved.restricted_micro, ledger.now()
    FROM moved WHERE moved.outcome = 'taken'
"""


def _again(app: App, first: Usage) -> Charged:
    if app.duplicate_mode == App.DuplicateMode.REPLAY:
        return Charged(first.movement_id, first.balance_after_micro, repeated=True)
    raise DuplicateRequest(
        "This request was charged before. It was not charged again.",
        is_duplicate=True,
        transaction_id=first.movement_id,
        new_balance=from_micro(first.balance_after_micro),
    )


def _used_otherwise() -> DuplicateRequest:
    return DuplicateRequest(
        "This idempotency_key was used for another request. Nothing was charged now.",
        is_duplicate=False,
    )


def _money_key(app: App, key: str) -> str:
    # One that reads like a digest becomes one too, so that no two share a money key.
    if len(key) > _PLAIN_KEY or key.startswith("sha256:"):
        key = f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    return f"consume:{app.pk}:{key}"


def _wait_for_a_twin(money_key: str, app: App) -> bool:
    """Until the transaction ends, whoever charges with this key stands in line.

    Says whether the app's owner has an endpoint that may want to hear of it.
    """
    digest = hashlib.sha256(money_key.encode()).digest()
    lock = int.from_bytes(digest[:8], signed=True)
    try:
        [[_, listens]] = tuples(_LOCK, {"lock": lock, "owner": app.owner_id})
    except OperationalError as waited:
        if not isinstance(waited.__cause__, LockNotAvailable):
            raise
        raise StillInFlight(
            "The same request is still being worked on; ask again in a moment.",
            is_duplicate=False,
        ) from waited
    return bool(listens)


_LOCK: LiteralString = f"""
    SELECT pg_advisory_xact_lock(%(lock)s), {outbox.LISTENS}
    FROM (SELECT %(owner)s::uuid AS owner_id) a
"""  # noqa: S608 — our own fragment


def per_day(*, app_id: UUID, days: int = DAYS) -> list[Day]:
    """What an app charged and sold on each of the last `days`, today last."""
    found = rows(_PER_DAY, {"app": app_id, "days": days - 1})
    return [Day(**row) for row in found]


# Two range scans of an index by app and time.
_PER_DAY: LiteralString = """
    WITH today AS (SELECT (ledger.now() AT TIME ZONE 'UTC')::date AS today),
    span AS (SELECT (today - %(days)s::int)::timestamp AT TIME ZONE 'UTC' AS since
      FROM today),
    used AS (
      SELECT (created_at AT TIME ZONE 'UTC')::date AS date, count(*) AS calls,
        sum(amount_micro)::bigint AS charged_micro
      FROM jobs_usage, span WHERE app_id = %(app)s AND created_at >= since GROUP BY 1
    ), sold AS (
      SELECT (paid_at AT TIME ZONE 'UTC')::date AS date, count(*) AS sales,
        sum(price_micro)::bigint AS sold_micro
      FROM jobs_toolpurchase, span
      WHERE app_id = %(app)s AND paid_at >= since GROUP BY 1
    )
    SELECT day::date AS date, coalesce(calls, 0) AS calls,
      coalesce(charged_micro, 0) AS charged_micro, coalesce(sales, 0) AS sales,
      coalesce(sold_micro, 0) AS sold_micro
    FROM today, generate_series(today - %(days)s::int, today, interval '1 day') AS day
    LEFT JOIN used ON used.date = day::date LEFT JOIN sold ON sold.date = day::date
    ORDER BY 1
"""


def hosted(*, account_id: UUID, slug: str, now: datetime) -> Hosted:
    """What the account's completed jobs with the app `slug` came to this month.

    An export counts by its action; a job that says `minutes` in its metadata counts
    those.
    """
    begins = now.astimezone(UTC).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    ends = (begins + timedelta(days=31)).replace(day=1)
    done = Job.objects.filter(
        account=account_id,
        app__slug=slug,
        status=Job.Status.COMPLETED,
        created_at__gte=begins,
        created_at__lt=ends,
    ).values_list("action", "metadata__minutes")
    minutes, exports = 0.0, 0
    for action, said in done.iterator():
        exports += action == "export"
        if isinstance(said, int | float) and not isinstance(said, bool) and said > 0:
            minutes += said
    # JSON shows a whole number as one.
    whole = int(minutes) if minutes.is_integer() else minutes
    return Hosted(whole, exports, begins, ends)
