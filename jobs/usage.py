"""Usage: 1sub's charge without a job, once per key for ever, and sums of charges.

Two requests with one key run one after the other, so both get the same outcome.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import LiteralString
from uuid import UUID

from django.db import OperationalError, transaction
from psycopg.errors import LockNotAvailable

from accounts.models import App
from accounts.partners import first_party
from focus.database.statements import rows, tuples
from focus.errors import DomainError
from focus.money import from_micro
from jobs.models import Usage
from jobs.webhooks import outbox
from wallet import ledger

# The largest charge, in credits.
MAX_AMOUNT = 1_000_000
LONGEST_KEY = 255
LONGEST_REASON = 500
DAYS = 30
# An entry's money key has 255 characters, and our prefix takes 45 of them.
_PLAIN_KEY = 200


class DuplicateRequest(DomainError):
    """The key has charged before. Facts: `is_duplicate`.

    For an identical request `is_duplicate` is True, and the facts hold the first
    answer: `transaction_id` and `new_balance`.
    """

    code = "duplicate_request"


class StillInFlight(DuplicateRequest):
    """The first request with this key is still running."""

    retry_after_seconds = 1


@dataclass(frozen=True, slots=True)
class Charged:
    """A charge. `balance_micro` is the amount that the app could spend after it.

    With `repeated` the charge was made before, and the facts are its first answer.
    """

    movement_id: UUID
    balance_micro: int
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Day:
    """One day (UTC) of one app: how many charges of each kind, and their sum."""

    date: date
    jobs: int
    calls: int
    sales: int
    charged_micro: int


@dataclass(frozen=True, slots=True)
class AppMonth:
    """One app's charges to an account within a month: counts by kind, and their sum."""

    app: str
    jobs: int
    calls: int
    sales: int
    charged_micro: int


@dataclass(frozen=True, slots=True)
class Month:
    """The current month (UTC) of one account, from `begins` until before `ends`.

    `minutes` and `exports` are those of one app's completed jobs. `charged_micro` is
    the sum over `apps`.
    """

    minutes: float
    exports: int
    charged_micro: int
    apps: list[AppMonth]
    begins: datetime
    ends: datetime


def charge(
    *,
    account_id: UUID,
    app: App,
    amount_micro: int,
    reason: str,
    key: str,
    actor: str,
    hosted: bool = False,
) -> Charged:
    """Charge at once, once per `key` of the app for ever.

    Hosted work charges for a first-party app (`hosted`), and for no other: the person's
    own request, which is the person's consent. The caller records the consent after
    this call, in the same transaction. Any other charge for such an app raises
    `HostedApp`.

    A key that has charged raises `DuplicateRequest` where the request differs. For the
    same request the app's duplicate mode decides between `DuplicateRequest` and the
    first answer. A request with a key that is in use waits up to the lock timeout, then
    raises `StillInFlight`. Raises as `ledger.consume`, and then stores nothing.
    """
    if not hosted:
        first_party.refuse(app)
    money_key = _money_key(app, key)
    stored = ledger.Consequence(_STORE, {"plain": key})
    try:
        with transaction.atomic():
            listens = _lock_key(money_key, app)
            taken = ledger.consume(
                account_id=account_id,
                app=app,
                amount_micro=amount_micro,
                actor=actor,
                reason=reason,
                key=money_key,
                by_person=hosted,
                then=stored,
            )
            if listens and taken.created and app.owner_id is not None:
                data = {
                    "transaction_id": taken.movement_id,
                    "app": app.slug,
                    "user_id": account_id,
                    "amount": from_micro(amount_micro),
                    "reason": reason,
                    "idempotency_key": key,
                }
                outbox.write(
                    account_id=app.owner_id,
                    app_id=app.pk,
                    name="credits.consumed",
                    about=taken.movement_id,
                    data=data,
                )
    except ledger.DuplicateKey:
        raise _key_of_another_request() from None
    if taken.created:
        return Charged(taken.movement_id, taken.balance.credits_micro)
    first = Usage.objects.get(app=app, key=key)
    same = (first.account_id, first.amount_micro) == (account_id, amount_micro)
    # An erased usage has no reason, and every request has one.
    if not same or first.reason not in ("", reason):
        raise _key_of_another_request()
    return _repeat(app, first)


# The statement that moves the credits also writes the row with the answer.
_STORE = """
    INSERT INTO jobs_usage (account_id, app_id, key, amount_micro, reason, movement_id,
      balance_after_micro, created_at)
    SELECT %(account)s, %(app)s, %(plain)s, %(amount)s, %(reason)s, moved.movement_id,
      moved.available_micro - moved.debt_micro - moved.restricted_micro, ledger.now()
    FROM moved WHERE moved.outcome = 'taken'
"""


def _repeat(app: App, first: Usage) -> Charged:
    if app.duplicate_mode == App.DuplicateMode.REPLAY:
        return Charged(first.movement_id, first.balance_after_micro, repeated=True)
    raise DuplicateRequest(
        "This request was charged before. It was not charged again.",
        is_duplicate=True,
        transaction_id=first.movement_id,
        new_balance=from_micro(first.balance_after_micro),
    )


def _key_of_another_request() -> DuplicateRequest:
    return DuplicateRequest(
        "This idempotency_key was used for another request. Nothing was charged now.",
        is_duplicate=False,
    )


def _money_key(app: App, key: str) -> str:
    # A key that looks like a digest is hashed too. Otherwise it could equal the digest
    # of another key.
    if len(key) > _PLAIN_KEY or key.startswith("sha256:"):
        key = f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    return f"consume:{app.pk}:{key}"


def _lock_key(money_key: str, app: App) -> bool:
    """Lock a money key until the transaction ends, by an advisory lock.

    Returns whether the app's owner has an enabled endpoint. Raises `StillInFlight`
    after the lock timeout. Takes one query.
    """
    digest = hashlib.sha256(money_key.encode()).digest()
    lock = int.from_bytes(digest[:8], signed=True)
    try:
        [[_, listens]] = tuples(_LOCK, {"lock": lock, "owner": app.owner_id})
    except OperationalError as waited:
        if not isinstance(waited.__cause__, LockNotAvailable):
            raise
        raise StillInFlight(
            "The same request is still running. Try again in a moment.",
            is_duplicate=False,
        ) from waited
    return bool(listens)


_LOCK: LiteralString = f"""
    SELECT pg_advisory_xact_lock(%(lock)s), {outbox.has_endpoint("%(owner)s::uuid")}
"""


# The charges of apps to accounts, each at the time when the ledger moved the credits.
# For a job that is its settlement. A completed job counts even without a charge.
_CHARGED: LiteralString = """
    SELECT account_id, app_id, 'job' AS kind, settled_at AS at, charged_micro AS micro
    FROM jobs_job WHERE status = 'completed' OR charged_micro > 0
    UNION ALL SELECT account_id, app_id, 'call', created_at, amount_micro
    FROM jobs_usage
    UNION ALL SELECT account_id, app_id, 'sale', paid_at, price_micro
    FROM jobs_toolpurchase WHERE paid_at IS NOT NULL
"""
_SUMS: LiteralString = """
    count(*) FILTER (WHERE kind = 'job') AS jobs,
    count(*) FILTER (WHERE kind = 'call') AS calls,
    count(*) FILTER (WHERE kind = 'sale') AS sales,
    coalesce(sum(micro), 0)::bigint AS charged_micro
"""


def per_day(*, app_id: UUID, days: int = DAYS) -> list[Day]:
    """Sum an app's charges of each of the last `days` (UTC), today last.

    Takes one query.
    """
    found = rows(_PER_DAY, {"app": app_id, "days": days - 1})
    return [Day(**row) for row in found]


_PER_DAY: LiteralString = f"""
    WITH today AS (SELECT (ledger.now() AT TIME ZONE 'UTC')::date AS today),
    span AS MATERIALIZED (
      SELECT (today - %(days)s::int)::timestamp AT TIME ZONE 'UTC' AS since FROM today
    ), used AS (
      SELECT (at AT TIME ZONE 'UTC')::date AS date, {_SUMS} FROM ({_CHARGED}) charged
      WHERE app_id = %(app)s AND at >= (SELECT since FROM span) GROUP BY 1
    )
    SELECT day::date AS date, coalesce(jobs, 0) AS jobs, coalesce(calls, 0) AS calls,
      coalesce(sales, 0) AS sales, coalesce(charged_micro, 0) AS charged_micro
    FROM today, generate_series(today - %(days)s::int, today, interval '1 day') AS day
    LEFT JOIN used ON used.date = day::date ORDER BY 1
"""  # noqa: S608 - our own fragments


def charged_by(*, app_ids: Sequence[UUID], days: int = DAYS) -> dict[UUID, int]:
    """Return the micro-credits that each app charged in the last `days` (UTC).

    Takes one query.
    """
    found = tuples(_CHARGED_BY, {"apps": list(app_ids), "days": days - 1})
    return dict.fromkeys(app_ids, 0) | dict(found)


_CHARGED_BY: LiteralString = f"""
    WITH span AS MATERIALIZED (
      SELECT ((ledger.now() AT TIME ZONE 'UTC')::date - %(days)s::int)::timestamp
        AT TIME ZONE 'UTC' AS since
    )
    SELECT app_id, sum(micro)::bigint FROM ({_CHARGED}) charged
    WHERE app_id = ANY(%(apps)s) AND at >= (SELECT since FROM span) GROUP BY 1
"""  # noqa: S608 - our own fragments


def this_month(*, account_id: UUID, hosted_by: str) -> Month:
    """Sum what apps charged an account in the current month. Takes one query.

    `minutes` and `exports` cover the completed jobs of the app with the slug
    `hosted_by`: the sum of the `minutes` in their metadata, and the number of jobs with
    the action `export`.
    """
    found = rows(_THIS_MONTH, {"account": account_id, "slug": hosted_by})
    first = found[0]
    minutes = float(first["minutes"])
    return Month(
        # JSON writes a whole number without a fraction.
        minutes=int(minutes) if minutes.is_integer() else minutes,
        exports=first["exports"],
        charged_micro=first["total_micro"],
        apps=[
            AppMonth(**{name: row[name] for name in _APP_COLUMNS})
            for row in found
            if row["app"] is not None
        ],
        begins=first["begins"],
        ends=first["ends"],
    )


_APP_COLUMNS = tuple(field.name for field in fields(AppMonth))
# One row for each app, and one without an app where none charged. Metadata may hold
# anything: a value that is no number of minutes counts as none.
_THIS_MONTH: LiteralString = f"""
    WITH month AS MATERIALIZED (
      SELECT begins AT TIME ZONE 'UTC' AS begins,
        (begins + interval '1 month') AT TIME ZONE 'UTC' AS ends
      FROM (SELECT date_trunc('month', ledger.now() AT TIME ZONE 'UTC') AS begins) m
    ), by_app AS (
      SELECT slug AS app, {_SUMS} FROM ({_CHARGED}) charged
      JOIN accounts_app ON accounts_app.id = app_id
      WHERE account_id = %(account)s AND at >= (SELECT begins FROM month)
        AND at < (SELECT ends FROM month)
      GROUP BY slug
    ), hosted AS (
      SELECT coalesce(sum(minutes), 0) AS minutes,
        count(*) FILTER (WHERE action = 'export') AS exports
      FROM (
        SELECT action, CASE WHEN jsonb_typeof(metadata->'minutes') = 'number'
          AND (metadata->>'minutes')::numeric BETWEEN 0 AND 1e9
          THEN (metadata->>'minutes')::numeric END AS minutes
        FROM jobs_job JOIN accounts_app a ON a.id = app_id
        WHERE account_id = %(account)s AND a.slug = %(slug)s AND status = 'completed'
          AND settled_at >= (SELECT begins FROM month)
          AND settled_at < (SELECT ends FROM month)
      ) done
    )
    SELECT begins, ends, minutes, exports, app, jobs, calls, sales, charged_micro,
      coalesce(sum(charged_micro) OVER (), 0)::bigint AS total_micro
    FROM month CROSS JOIN hosted LEFT JOIN by_app ON true ORDER BY app
"""  # noqa: S608 - our own fragments
