"""The ledger's answers: frozen facts, or a refusal that has moved nothing.

Amounts are micro-credits, except a refusal's facts, which are credits for people.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from focus.errors import DomainError


class InsufficientCredits(DomainError):
    """The wallet holds too few credits. Facts in credits: `required`, `available`."""

    code = "insufficient_credits"


class BudgetExceeded(DomainError):
    """The app's monthly budget is too small, though the wallet holds the credits.

    Facts in credits: `limit`, `spent` this month so far, and `required` now.
    """

    code = "spending_limit_reached"


class AlreadyResolved(DomainError):
    """The reservation was settled or released before. This call moved nothing."""

    code = "already_resolved"


class ReservationExpired(DomainError):
    """The reservation ended by time before. This call moved nothing."""

    code = "reservation_expired"


class TtlTooLong(DomainError):
    """The reservation would last too long. Facts: `max_ttl_seconds`."""

    code = "ttl_too_long"


class UnknownPurchase(DomainError):
    """No paid grant of this account was booked under this key, or not yet."""

    code = "unknown_purchase"


class ExceedsPurchase(DomainError):
    """The purchase has less left to claw back. Facts: `required`, `left`."""

    code = "exceeds_purchase"


class UnknownClawBack(DomainError):
    """No claw-back of this account was booked under this key, or not yet."""

    code = "unknown_claw_back"


class AlreadyReinstated(DomainError):
    """The claw-back was reinstated before, under another key."""

    code = "already_reinstated"


class DuplicateKey(DomainError):
    """The money key belongs to another account's movement."""

    code = "duplicate_request"


@dataclass(frozen=True)
class Balance:
    """A wallet's credits in micro-credits, as of the moment of the read.

    `restricted_micro` is the part of `available_micro` that the app in question may not
    spend. That part is restricted to other apps, or above the app's monthly limit.
    `credits_micro` is what the app can spend, negative while there is debt.
    """

    available_micro: int
    reserved_micro: int
    debt_micro: int
    restricted_micro: int = 0

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Balance":
        """Read the balance from a row of a ledger function."""
        return cls(
            row["available_micro"],
            row["reserved_micro"],
            row["debt_micro"],
            row.get("restricted_micro", 0),
        )

    @property
    def credits_micro(self) -> int:
        return self.available_micro - self.debt_micro - self.restricted_micro


@dataclass(frozen=True)
class Reserved:
    """Credits reserved for a job; a zero estimate reserves none (`movement_id` None).

    They return to the wallet at `expires_at`, unless the job is settled before.
    `also` holds the values of the `columns` of `then`.
    """

    movement_id: UUID | None
    expires_at: datetime
    balance: Balance
    also: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Extended:
    """A reservation's end; `changed` is false if it was no sooner before."""

    expires_at: datetime
    changed: bool
    balance: Balance


@dataclass(frozen=True)
class Settled:
    """A job's charged, returned and unpaid (`uncovered`) micro-credits.

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
    """A release; it returned 0 if nothing was reserved or the reservation expired."""

    returned_micro: int
    expired: bool
    at: datetime
    balance: Balance


@dataclass(frozen=True)
class Granted:
    """A grant; `created` is false if the money key had granted before."""

    movement_id: UUID
    grant_id: int
    created: bool
    balance: Balance


@dataclass(frozen=True)
class Taken:
    """A charge without a job; `created` is false if the money key had charged before.

    In that case `first_amount_micro` is the first charge, and `first_balance_micro` the
    whole wallet's balance after it, less debt.
    """

    movement_id: UUID
    created: bool
    balance: Balance
    first_amount_micro: int | None = None
    first_balance_micro: int | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Taken":
        return cls(
            row["movement_id"],
            row["outcome"] == "taken",
            Balance.from_row(row),
            row["first_amount_micro"],
            row["first_balance_micro"],
        )


@dataclass(frozen=True)
class ClawedBack:
    """A claw-back's amounts: taken from the balance, and owed as debt.

    `created` is false if the money key had clawed back before. The amounts are then
    those of the first call.
    """

    movement_id: UUID
    grant_id: int
    created: bool
    taken_micro: int
    owed_micro: int
    balance: Balance


@dataclass(frozen=True)
class Reinstated:
    """A reinstatement; `created` is false if the money key had reinstated before."""

    movement_id: UUID
    created: bool
    balance: Balance


@dataclass(frozen=True)
class Spending:
    """An app's spending in one wallet this calendar month (UTC), and its limit.

    `limit_micro` is None without a limit. `spent_micro` includes open reservations.
    """

    limit_micro: int | None
    spent_micro: int

    @property
    def left_micro(self) -> int | None:
        if self.limit_micro is None:
            return None
        return max(0, self.limit_micro - self.spent_micro)


@dataclass(frozen=True)
class Charge:
    """One charge of `consume_many`."""

    account_id: UUID
    amount_micro: int
    reason: str
    key: str


@dataclass(frozen=True)
class Consequence:
    """More statements that run in the movement's round trip.

    The first statement may read the row `moved`. Each statement in `items` may also
    read the results of those before it, by name. Their parameters must not be named
    like the movement's own. Each of `columns` is a query for one value, which the
    answer holds in `also` under the query's name.
    """

    sql: LiteralString
    params: Mapping[str, Any]
    items: Mapping[str, LiteralString] = field(default_factory=dict)
    columns: Mapping[str, LiteralString] = field(default_factory=dict)
