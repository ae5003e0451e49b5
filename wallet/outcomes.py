"""What the ledger answers: frozen facts, or a refusal that has moved nothing.

Amounts are micro-credits, except in a refusal's facts, which people read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from focus.errors import DomainError


class InsufficientCredits(DomainError):
    """The wallet cannot cover it. Facts are credits: `required`, `available`."""

    code = "insufficient_credits"


class BudgetExceeded(DomainError):
    """More than the person lets the app spend in a month, though there are credits.

    Facts are credits: `limit`, `spent` this month so far, and what is `required` now.
    """

    code = "spending_limit_reached"


class AlreadyResolved(DomainError):
    """The reservation was settled or released before. Nothing was moved now."""

    code = "already_resolved"


class UnknownPurchase(DomainError):
    """No paid grant of this account was booked under this key (yet)."""

    code = "unknown_purchase"


class ExceedsPurchase(DomainError):
    """More than is left to claw back of a purchase. Facts: `required`, `left`."""

    code = "exceeds_purchase"


class UnknownClawBack(DomainError):
    """No claw-back of this account was booked under this key (yet)."""

    code = "unknown_claw_back"


class AlreadyReinstated(DomainError):
    """The claw-back was given back before, under another key."""

    code = "already_reinstated"


class DuplicateKey(DomainError):
    """The money key belongs to another account's movement."""

    code = "duplicate_request"


@dataclass(frozen=True)
class Balance:
    """What a wallet holds, in micro-credits, as of the moment it was read.

    `restricted_micro` is the part of `available_micro` that the app in question may
    not spend, being meant for others or beyond its monthly limit; `credits_micro` is
    what it can spend, negative while there is debt.
    """

    available_micro: int
    reserved_micro: int
    debt_micro: int
    restricted_micro: int = 0

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Balance":
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
    """Credits set aside for a job; a zero estimate reserves none (`movement_id` None).

    `expires_at` is when they fall back to the wallet unless the job settles first.
    `also` holds the values of the `columns` of `then`.
    """

    movement_id: UUID | None
    expires_at: datetime
    balance: Balance
    also: Mapping[str, Any] = field(default_factory=dict)


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

    Then `first_amount_micro` tells what it took, and `first_balance_micro` what the
    whole wallet had after it, debt deducted.
    """

    movement_id: UUID
    created: bool
    balance: Balance
    first_amount_micro: int | None = None
    first_balance_micro: int | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Taken":
        return cls(
            row["movement_id"],
            row["outcome"] == "taken",
            Balance.of(row),
            row["first_amount_micro"],
            row["first_balance_micro"],
        )


@dataclass(frozen=True)
class ClawedBack:
    """What a claw-back took out of the balance, and what it left as debt.

    `created` is false where the money key had clawed back before; the amounts are then
    those of the first time.
    """

    movement_id: UUID
    grant_id: int
    created: bool
    taken_micro: int
    owed_micro: int
    balance: Balance


@dataclass(frozen=True)
class Reinstated:
    """A claw-back given back: `created` is false where the money key did so before."""

    movement_id: UUID
    created: bool
    balance: Balance


@dataclass(frozen=True)
class Spending:
    """An app's calendar month (UTC) in one wallet. No limit: `limit_micro` is None.

    `spent_micro` counts what its jobs still reserve.
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
    """One item of `consume_many`."""

    account_id: UUID
    amount_micro: int
    reason: str
    key: str


@dataclass(frozen=True)
class Consequence:
    """More statements in the same round trip: the first may read the row `moved`, and
    those by name in `items` read what comes before them as well.

    Their parameters must not be named like the movement's own. Each of `columns` is a
    query for one value: the answer holds it by its name, in `also`.
    """

    sql: LiteralString
    params: Mapping[str, Any]
    items: Mapping[str, LiteralString] = field(default_factory=dict)
    columns: Mapping[str, LiteralString] = field(default_factory=dict)
