"""The ledger: the only caller of the SQL functions in `wallet/sql/`.

Each function is one database round trip that locks the account's wallet, checks and
writes. It either happens wholly and answers with the facts, or refuses with a
`DomainError` and has moved nothing. Amounts are integer micro-credits, accounts are
ids of `accounts.User`. Time is the database's, read under the lock.

`then` lets a caller write its own consequence (a job's result) in the same round
trip: a CTE that reads the one-row table `moved`, so the wallet stays locked no
longer than the movement needs.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from django.db import DatabaseError, IntegrityError
from django.db.models import DateTimeField
from django.db.models.expressions import RawSQL

from accounts.models import App
from focus.database.statements import rows
from focus.money import from_micro
from wallet.models import Grant
from wallet.outcomes import (
    AlreadyResolved,
    Balance,
    Charge,
    DuplicateKey,
    Granted,
    InsufficientCredits,
    Released,
    Reserved,
    Settled,
    Taken,
    Then,
)

log = logging.getLogger(__name__)
# The unique constraint behind every money key.
ONCE = "a_money_key_moves_credits_once"
# The ledger's clock, for queries that must agree with it.
NOW = RawSQL("ledger.now()", [], output_field=DateTimeField())


def balance(*, account_id: UUID, app_id: UUID | None = None) -> Balance:
    """The balance by now. Waits for no lock and for no sweeper."""
    row = _call(
        "SELECT * FROM ledger.balance(%(account)s, %(app)s)",
        {"account": account_id, "app": app_id},
    )
    return Balance.of(row)


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
    return Reserved(row["movement_id"], row["expires_at"], Balance.of(row))


def settle(
    *,
    account_id: UUID,
    app: App,
    job_id: UUID,
    cost_micro: int,
    actor: str,
    reason: str = "",
    only_held: bool = False,
    then: Then | None = None,
) -> Settled:
    """Charge a job's real cost; return the rest, or charge overage by the app's policy.

    With `only_held` nothing beyond the reservation is charged, whatever the policy, and
    of an expired one nothing at all. A settlement that charges nothing leaves no entry,
    so the caller must hold a lock of its own against settling the same job twice.
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
            "policy": "held" if only_held else app.overage_policy,
            "actor": actor,
            "reason": reason,
        },
        then,
    )
    if row["outcome"] == "insufficient_credits":
        # What it has reserved counts: that much of the cost is there already.
        raise _refusal(cost_micro, row["charged_micro"])
    _not_resolved(row)
    return Settled(
        row["charged_micro"],
        row["returned_micro"],
        row["uncovered_micro"],
        row["late"],
        row["booked_at"],
        Balance.of(row),
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
        Balance.of(row),
    )


def expire(*, account_id: UUID) -> int:
    """Book what is due by now in one wallet; returns how many entries that took.

    Readers never wait for it: the balance already reads as if it had run.
    """
    row = _call("SELECT * FROM ledger.expire(%(account)s)", {"account": account_id})
    return int(row["booked"])


def expire_due(*, limit: int = 10_000) -> int:
    """Book what is due in every wallet that holds an expired grant.

    Ids are read unlocked and each wallet is its own transaction; one that is broken
    is logged and stops no other.
    """
    due = (
        Grant.objects.filter(has_credits=True, expires_at__lte=NOW)
        .order_by("wallet_id")
        .values_list("wallet__account_id", flat=True)
        .distinct()
    )
    return sum(_expired(account_id) for account_id in list(due[:limit]))


def _expired(account_id: UUID) -> int:
    try:
        return expire(account_id=account_id)
    except DatabaseError:
        log.exception("could not expire the grants of account %s", account_id)
        return 0


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
        Balance.of(row),
    )


def consume(
    *, account_id: UUID, app: App, amount_micro: int, actor: str, reason: str, key: str
) -> Taken:
    """Charge at once, without a job, once per `key` for ever.

    Raises `InsufficientCredits`. A repeated key answers with the first movement.
    """
    return _take(
        account_id,
        app,
        "consume",
        f"revenue:{app.slug}",
        amount_micro,
        actor,
        reason,
        key,
    )


def consume_many(
    *, app: App, actor: str, charges: Iterable[Charge]
) -> list[Taken | InsufficientCredits]:
    """Many charges in one round trip, answered in the order given.

    Each stands for itself: one that cannot be covered is answered with its refusal
    and the others are charged all the same. A key that has charged another account is
    the caller's mistake: it raises `DuplicateKey` and nothing is charged.
    """
    wanted = list(charges)
    with _one_account_a_key():
        answers = rows(
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
        _refusal(charge.amount_micro, Balance.of(row).credits_micro)
        if row["outcome"] == "insufficient_credits"
        else Taken.of(row)
        for row, charge in zip(answers, wanted, strict=True)
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
    with _one_account_a_key():
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
    _covered(row, amount_micro)
    return Taken.of(row)


@contextmanager
def _one_account_a_key() -> Iterator[None]:
    try:
        yield
    except IntegrityError as taken:
        if ONCE not in str(taken):
            raise
        raise DuplicateKey("This key has moved another account's credits.") from taken


def _covered(row: dict[str, Any], required_micro: int) -> None:
    if row["outcome"] == "insufficient_credits":
        raise _refusal(required_micro, Balance.of(row).credits_micro)


def _refusal(required_micro: int, available_micro: int) -> InsufficientCredits:
    return InsufficientCredits(
        "There are not enough credits for this.",
        required=from_micro(required_micro),
        # Nobody who owes is told that they have less than nothing.
        available=from_micro(max(0, available_micro)),
    )


def _not_resolved(row: dict[str, Any]) -> None:
    if row["outcome"] == "already_resolved":
        raise AlreadyResolved("The reservation was settled or released before.")


def _call(
    sql: LiteralString, params: Mapping[str, Any], then: Then | None = None
) -> dict[str, Any]:
    if then is not None:
        sql = (
            f"WITH moved AS MATERIALIZED ({sql}),"  # noqa: S608 — both are ours
            f" consequence AS ({then.sql}) SELECT * FROM moved"
        )
        params = {**params, **then.params}
    (row,) = rows(sql, params)
    return row
