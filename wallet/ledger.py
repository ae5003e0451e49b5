"""The ledger: the only caller of the SQL functions in `wallet/sql/`.

Each function is one database round trip that locks the account's wallet, checks and
writes. It either happens wholly and answers with the facts, or refuses with a
`DomainError` and has moved nothing. Amounts are integer micro-credits, accounts are
ids of `accounts.User`. Time is the database's, read under the lock.

`then` lets a caller write its own consequence (a job's result) in the same round
trip: a CTE that reads the one-row table `moved`, so the wallet stays locked no
longer than the movement needs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from django.db import IntegrityError, connection
from django.db.models import DateTimeField
from django.db.models.expressions import RawSQL
from psycopg import Cursor
from psycopg.rows import dict_row

from accounts.models import App
from focus.errors import DomainError
from focus.money import from_micro
from wallet.models import Grant


# The ledger's clock, for queries that must agree with it.
NOW = RawSQL("ledger.now()", [], output_field=DateTimeField())


class InsufficientCredits(DomainError):
    """The wallet cannot cover it. Facts are credits: `required`, `available`."""

    code = "insufficient_credits"


class AlreadyResolved(DomainError):
    """The reservation was settled or released before. Nothing was moved now."""

    code = "already_resolved"


class DuplicateKey(DomainError):
    """The money key belongs to another account's movement."""

    code = "duplicate_request"


@dataclass(frozen=True)
class Balance:
    """What a wallet holds, in micro-credits, as of the moment it was read.

    `restricted_micro` is the part of `available_micro` that the app in question may
    not spend; `credits_micro` is what it can spend, negative while there is debt.
    """

    available_micro: int
    reserved_micro: int
    debt_micro: int
    restricted_micro: int = 0

    @property
    def credits_micro(self) -> int:
        return self.available_micro - self.debt_micro - self.restricted_micro


@dataclass(frozen=True)
class Reserved:
    """Credits set aside for a job; a zero estimate reserves none (`movement_id` None).

    `expires_at` is when they fall back to the wallet unless the job settles first.
    """

    movement_id: UUID | None
    expires_at: datetime
    balance: Balance


@dataclass(frozen=True)
class Settled:
    """What a job was charged, what went back, and what nobody paid (`uncovered`).

    `late` says that the reservation had expired, so the charge was a fresh one.
    """

    charged_micro: int
    returned_micro: int
    uncovered_micro: int
    late: bool
    at: datetime
    balance: Balance


@dataclass(frozen=True)
class Released:
    """What went back: nothing where nothing was reserved, or it had expired."""

    returned_micro: int
    expired: bool
    at: datetime
    balance: Balance


@dataclass(frozen=True)
class Granted:
    """`created` is false where the money key had granted before."""

    movement_id: UUID
    grant_id: int
    created: bool
    balance: Balance


@dataclass(frozen=True)
class Taken:
    """`created` is false where the money key had taken before.

    Then `first_amount_micro` and `first_balance_micro` tell what it took and left.
    """

    movement_id: UUID
    created: bool
    balance: Balance
    first_amount_micro: int | None = None
    first_balance_micro: int | None = None


@dataclass(frozen=True)
class Then:
    """One more statement in the same round trip; it may read the row `moved`.

    Its parameters must not be named like the movement's own.
    """

    sql: LiteralString
    params: Mapping[str, Any]


def balance(*, account_id: UUID, app_id: UUID | None = None) -> Balance:
    """The balance by now. Waits for no lock and for no sweeper."""
    row = _call(
        "SELECT * FROM ledger.balance(%(account)s, %(app)s)",
        {"account": account_id, "app": app_id},
    )
    return _balance(row)


def reserve(
    *,
    account_id: UUID,
    app: App,
    job_id: UUID,
    amount_micro: int,
    ttl_seconds: int,
    actor: str,
    reason: str = "",
    then: Then | None = None,
) -> Reserved:
    """Set credits aside for a job. An amount of 0 books nothing.

    Raises `InsufficientCredits`; `then` must write nothing unless
    `moved.outcome = 'reserved'`.
    """
    row = _call(
        "SELECT * FROM ledger.reserve(%(account)s, %(app)s, %(job)s, %(amount)s,"
        " %(ttl)s, %(actor)s, %(reason)s)",
        {
            "account": account_id,
            "app": app.pk,
            "job": job_id,
            "amount": amount_micro,
            "ttl": ttl_seconds,
            "actor": actor,
            "reason": reason,
        },
        then,
    )
    _covered(row, amount_micro)
    return Reserved(row["movement_id"], row["expires_at"], _balance(row))


def settle(
    *,
    account_id: UUID,
    app: App,
    job_id: UUID,
    cost_micro: int,
    actor: str,
    reason: str = "",
    then: Then | None = None,
) -> Settled:
    """Charge a job's real cost; return the rest, or charge overage by the app's policy.

    Raises `InsufficientCredits` only under the policy `reject`, and `AlreadyResolved`.
    `then` must write nothing unless `moved.outcome = 'settled'`.
    """
    row = _call(
        "SELECT * FROM ledger.settle(%(account)s, %(app)s, %(slug)s, %(job)s,"
        " %(cost)s, %(policy)s, %(actor)s, %(reason)s)",
        {
            "account": account_id,
            "app": app.pk,
            "slug": app.slug,
            "job": job_id,
            "cost": cost_micro,
            "policy": app.overage_policy,
            "actor": actor,
            "reason": reason,
        },
        then,
    )
    _covered(row, cost_micro)
    _not_resolved(row)
    return Settled(
        row["charged_micro"],
        row["returned_micro"],
        row["uncovered_micro"],
        row["late"],
        row["booked_at"],
        _balance(row),
    )


def release(
    *,
    account_id: UUID,
    app: App,
    job_id: UUID,
    actor: str,
    reason: str = "",
    then: Then | None = None,
) -> Released:
    """Give a job's whole reservation back. Raises `AlreadyResolved`.

    Nothing is moved where nothing was reserved or the reservation has expired.
    `then` must write nothing where `moved.outcome = 'already_resolved'`.
    """
    row = _call(
        "SELECT * FROM ledger.release(%(account)s, %(app)s, %(job)s, %(actor)s,"
        " %(reason)s)",
        {
            "account": account_id,
            "app": app.pk,
            "job": job_id,
            "actor": actor,
            "reason": reason,
        },
        then,
    )
    _not_resolved(row)
    return Released(
        row["returned_micro"],
        row["outcome"] == "expired",
        row["booked_at"],
        _balance(row),
    )


def expire(*, account_id: UUID) -> int:
    """Book what is due by now in one wallet; returns how many entries that took.

    Readers never wait for it: the balance already reads as if it had run.
    """
    row = _call(
        "SELECT * FROM ledger.expire(%(account)s)", {"account": account_id}
    )
    return int(row["booked"])


def expire_due(*, limit: int = 500) -> int:
    """Book what is due in every wallet that holds an expired grant.

    Ids are read unlocked and each wallet is its own transaction.
    """
    due = (
        Grant.objects.filter(remaining_micro__gt=0, expires_at__lte=NOW)
        .order_by("wallet_id")
        .values_list("wallet__account_id", flat=True)
        .distinct()
    )
    return sum(expire(account_id=account_id) for account_id in list(due[:limit]))


def grant(
    *,
    account_id: UUID,
    amount_micro: int,
    source: str,
    actor: str,
    key: str,
    category: str = Grant.Category.PROMOTIONAL,
    priority: int = 50,
    expires_at: datetime | None = None,
    only_for: App | None = None,
    given_by: App | None = None,
    reason: str = "",
) -> Granted:
    """Give credits, once per `key` for ever.

    `only_for` restricts who may spend them; `given_by` names the app whose arrival
    gave them. Paid grants and adjustments repay debt first.
    """
    paid_from = "stripe" if category == Grant.Category.PAID else "issuance"
    row = _call(
        "SELECT * FROM ledger.grant(%(account)s, %(source)s, %(category)s, %(amount)s,"
        " %(priority)s, %(expires_at)s, %(app)s, %(given_by)s, %(from)s, %(actor)s,"
        " %(reason)s, %(key)s)",
        {
            "account": account_id,
            "source": source,
            "category": category,
            "amount": amount_micro,
            "priority": priority,
            "expires_at": expires_at,
            "app": only_for and only_for.pk,
            "given_by": given_by and given_by.pk,
            "from": paid_from,
            "actor": actor,
            "reason": reason,
            "key": key,
        },
    )
    return Granted(
        row["movement_id"],
        row["grant_id"],
        row["outcome"] == "granted",
        _balance(row),
    )


def consume(
    *, account_id: UUID, app: App, amount_micro: int, actor: str, reason: str, key: str
) -> Taken:
    """Charge at once, without a job, once per `key` for ever.

    Raises `InsufficientCredits`. A repeated key answers with the first movement.
    """
    return _take(
        account_id, app, "consume", f"revenue:{app.slug}", amount_micro, actor, reason, key
    )


@dataclass(frozen=True)
class Charge:
    """One item of `consume_many`."""

    account_id: UUID
    amount_micro: int
    reason: str
    key: str


def consume_many(
    *, app: App, actor: str, charges: Iterable[Charge]
) -> list[Taken | InsufficientCredits]:
    """Many charges in one round trip, answered in the order given.

    Each stands for itself: one that cannot be covered is answered with its refusal
    and the others are charged all the same.
    """
    wanted = list(charges)
    rows = _rows(
        "SELECT * FROM ledger.consume_many(%(app)s, %(slug)s, %(actor)s,"
        " %(accounts)s::uuid[], %(amounts)s::bigint[], %(reasons)s::text[],"
        " %(keys)s::text[]) ORDER BY position",
        {
            "app": app.pk,
            "slug": app.slug,
            "actor": actor,
            "accounts": [charge.account_id for charge in wanted],
            "amounts": [charge.amount_micro for charge in wanted],
            "reasons": [charge.reason for charge in wanted],
            "keys": [charge.key for charge in wanted],
        },
    )
    return [
        _refusal(row, charge.amount_micro)
        if row["outcome"] == "insufficient_credits"
        else _taken(row)
        for row, charge in zip(rows, wanted, strict=True)
    ]


def adjust(
    *, account_id: UUID, amount_micro: int, actor: str, reason: str, key: str
) -> Granted | Taken:
    """Staff give (positive) or take back (negative) credits, once per `key`.

    Raises `InsufficientCredits` when there is less to take than asked.
    """
    if amount_micro > 0:
        return grant(
            account_id=account_id,
            amount_micro=amount_micro,
            source=Grant.Source.ADJUSTMENT,
            actor=actor,
            reason=reason,
            key=key,
        )
    return _take(
        account_id, None, "adjust", "issuance", -amount_micro, actor, reason, key
    )


def _take(
    account_id: UUID,
    app: App | None,
    kind: str,
    to: str,
    amount_micro: int,
    actor: str,
    reason: str,
    key: str,
) -> Taken:
    try:
        row = _call(
            "SELECT * FROM ledger.take(%(account)s, %(app)s, %(kind)s, %(to)s,"
            " %(amount)s, %(actor)s, %(reason)s, %(key)s)",
            {
                "account": account_id,
                "app": app and app.pk,
                "kind": kind,
                "to": to,
                "amount": amount_micro,
                "actor": actor,
                "reason": reason,
                "key": key,
            },
        )
    except IntegrityError as taken:
        raise DuplicateKey("This key has charged another account.") from taken
    _covered(row, amount_micro)
    return _taken(row)


def _taken(row: dict[str, Any]) -> Taken:
    return Taken(
        row["movement_id"],
        row["outcome"] == "taken",
        _balance(row),
        row["first_amount_micro"],
        row["first_balance_micro"],
    )


def _balance(row: dict[str, Any]) -> Balance:
    return Balance(
        row["available_micro"],
        row["reserved_micro"],
        row["debt_micro"],
        row.get("restricted_micro", 0),
    )


def _covered(row: dict[str, Any], required_micro: int) -> None:
    if row["outcome"] == "insufficient_credits":
        raise _refusal(row, required_micro)


def _refusal(row: dict[str, Any], required_micro: int) -> InsufficientCredits:
    # A settlement may use what it had reserved; without debt nobody sees less than 0.
    available = max(0, _balance(row).credits_micro)
    return InsufficientCredits(
        "There are not enough credits for this.",
        required=from_micro(required_micro),
        available=from_micro(available),
    )


def _not_resolved(row: dict[str, Any]) -> None:
    if row["outcome"] == "already_resolved":
        raise AlreadyResolved("The reservation was settled or released before.")


def _call(
    sql: LiteralString, params: Mapping[str, Any], then: Then | None = None
) -> dict[str, Any]:
    if then is not None:
        sql = (
            f"WITH moved AS MATERIALIZED ({sql}), consequence AS ({then.sql})"
            " SELECT * FROM moved"
        )
        params = {**params, **then.params}
    (row,) = _rows(sql, params)
    return row


def _rows(sql: LiteralString, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    with connection.wrap_database_errors, Cursor(
        connection.connection, row_factory=dict_row
    ) as cursor:
        # Server-side parameters and a prepared statement: half of a call's cost.
        cursor.execute(sql, params, prepare=True)
        return cursor.fetchall()
