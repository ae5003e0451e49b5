"""A job's credits: reserve, extend, then settle, release or expire."""

from datetime import datetime
from uuid import UUID

from django.db.models import DateTimeField
from django.db.models.expressions import RawSQL

from accounts.models import App
from focus.background.sweeps import Sweep
from wallet.ledger.calling import (
    call,
    insufficient_credits,
    raise_refusal,
    refuse_resolved,
)
from wallet.models import Grant
from wallet.outcomes import (
    Balance,
    Consequence,
    Extended,
    Released,
    ReservationExpired,
    Reserved,
    Settled,
    TtlTooLong,
)

# The ledger's clock, for queries that must agree with it.
NOW = RawSQL("ledger.now()", [], output_field=DateTimeField())


def reserve(
    *,
    account_id: UUID,
    app: App,
    job_id: UUID,
    amount_micro: int,
    ttl_seconds: int,
    actor: str,
    reason: str = "",
    by_person: bool = False,
    then: Consequence | None = None,
) -> Reserved:
    """Reserve credits for a job. An amount of 0 books nothing.

    * `by_person`: the account's own request, which is its consent. The caller records
      the consent in the same transaction, after this call.
    * Otherwise the account must have a live consent for the app. A revocation that
      commits before the wallet is locked is always seen.

    Raises `InsufficientCredits`, `BudgetExceeded`, `AppNotGranted`, `AppInactive` and
    `TokenEnded`. `then` must write nothing unless `moved.outcome = 'reserved'`.
    """
    row = call(
        "SELECT * FROM ledger.reserve_by(%(by)s, %(account)s, %(app)s, %(job)s,"
        " %(amount)s, %(ttl)s, %(actor)s, %(reason)s)",
        {
            "by": "person" if by_person else "app",
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
    raise_refusal(row, amount_micro)
    also = {name: row[name] for name in then.columns} if then else {}
    return Reserved(row["movement_id"], row["expires_at"], Balance.from_row(row), also)


def lock(*, account_id: UUID) -> None:
    """Lock an account's wallet until the transaction ends, and book what is due.

    For a rule that counts rows of its own which parallel calls must not pass. A
    statement after this call sees what the lock has waited for.
    """
    call("SELECT * FROM ledger.expire(%(account)s)", {"account": account_id})


def extend(
    *,
    account_id: UUID,
    app: App,
    job_id: UUID,
    began_at: datetime,
    ends_at: datetime,
    ttl_seconds: int,
    actor: str,
    then: Consequence | None = None,
) -> Extended:
    """Let a job's reservation end `ttl_seconds` from now, unless it ends later anyway.

    `began_at` and `ends_at` are the job's start and its end so far. A job without a
    reservation books nothing, so the caller must hold its own lock against ending the
    job at the same time. A change books one entry with the new end.

    The account must have a live consent for the app, and both must be open: see
    `reserve`. Raises `AppNotGranted` and `AppInactive`, `ReservationExpired`,
    `AlreadyResolved`, and `TtlTooLong` for an end later than 7 days after `began_at`.
    `then` must write nothing unless `moved.outcome = 'extended'`.
    """
    row = call(
        "SELECT * FROM ledger.extend(%(account)s, %(app)s, %(job)s, %(began_at)s,"
        " %(ends_at)s, %(ttl)s, %(actor)s)",
        {
            "account": account_id,
            "app": app.pk,
            "job": job_id,
            "began_at": began_at,
            "ends_at": ends_at,
            "ttl": ttl_seconds,
            "actor": actor,
        },
        then,
    )
    refuse_resolved(row)
    if row["outcome"] == "expired":
        raise ReservationExpired("The reservation has expired.")
    raise_refusal(row, 0)
    if row["outcome"] == "ttl_too_long":
        raise TtlTooLong(
            "A job's credits stay reserved for at most 7 days after its start.",
            max_ttl_seconds=row["max_ttl_seconds"],
        )
    return Extended(
        row["expires_at"], row["outcome"] == "extended", Balance.from_row(row)
    )


def settle(
    *,
    account_id: UUID,
    app: App,
    job_id: UUID,
    cost_micro: int,
    actor: str,
    reason: str = "",
    only_reserved: bool = False,
    then: Consequence | None = None,
) -> Settled:
    """Charge a job's real cost; return the rest, or charge overage by the app's policy.

    * `only_reserved`: charge nothing beyond the reservation, under every policy. An
      expired reservation then charges nothing.
    * The same holds if, when the wallet is locked, the account has revoked its consent,
      or the account or the app is closed. The rest of the cost is `uncovered`.
    * Overage stays within the balance and within the app's monthly limit.
    * A settlement that charges nothing leaves no entry, so the caller must hold its own
      lock against settling the same job twice.

    Raises `AlreadyResolved`, and under the policy `reject` `InsufficientCredits` and
    `BudgetExceeded`. `then` must write nothing unless `moved.outcome = 'settled'`.
    """
    row = call(
        "SELECT * FROM ledger.settle(%(account)s, %(app)s, %(slug)s, %(job)s,"
        " %(cost)s, %(policy)s, %(actor)s, %(reason)s)",
        {
            "account": account_id,
            "app": app.pk,
            "slug": app.slug,
            "job": job_id,
            "cost": cost_micro,
            "policy": "held" if only_reserved else app.overage_policy,
            "actor": actor,
            "reason": reason,
        },
        then,
    )
    if row["outcome"] == "insufficient_credits":
        # The reservation covers part of the cost, so it counts as available.
        raise insufficient_credits(cost_micro, row["charged_micro"])
    raise_refusal(row, row["required_micro"])
    refuse_resolved(row)
    return Settled(
        row["charged_micro"],
        row["returned_micro"],
        row["uncovered_micro"],
        row["late"],
        row["booked_at"],
        Balance.from_row(row),
    )


def release(
    *,
    account_id: UUID,
    app: App,
    job_id: UUID,
    actor: str,
    reason: str = "",
    then: Consequence | None = None,
) -> Released:
    """Return a job's whole reservation. Raises `AlreadyResolved`.

    A missing or expired reservation moves nothing.
    `then` must write nothing if `moved.outcome = 'already_resolved'`.
    """
    row = call(
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
    refuse_resolved(row)
    return Released(
        row["returned_micro"],
        row["outcome"] == "expired",
        row["booked_at"],
        Balance.from_row(row),
    )


def expire(*, account_id: UUID) -> int:
    """Book what is due by now in one wallet; returns the number of new entries.

    `balance` counts due expiries without it.
    """
    row = call("SELECT * FROM ledger.expire(%(account)s)", {"account": account_id})
    return int(row["booked"])


def expire_due(*, limit: int = 10_000) -> int:
    """Book what is due in every wallet with an expired grant; returns new entries.

    Reads at most `limit` ids without a lock. Each wallet is its own transaction. A
    wallet that fails is recorded as a `Failure` and stops no other.
    """
    sweep, done = Sweep("wallet.expire_grants"), 0
    due = (
        Grant.objects.filter(has_credits=True, expires_at__lte=NOW)
        .exclude(wallet__account_id__in=[UUID(it) for it in sweep.backing_off])
        .order_by("wallet_id")
        .values_list("wallet__account_id", flat=True)
        .distinct()
    )
    account_ids = list(due[:limit])
    for account_id in account_ids:
        with sweep.each(account_id):
            done += expire(account_id=account_id)
    sweep.end(complete=len(account_ids) < limit)
    return done
