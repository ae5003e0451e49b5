"""The ledger: the only caller of the SQL functions in `wallet/sql/`.

Each function is one database round trip that locks the account's wallet, checks and
writes. It either commits the whole movement and returns the facts, or raises a
`DomainError` and moves nothing. Amounts are integer micro-credits. Accounts are ids of
`accounts.User`. The time is the database's, read under the lock.

`then` lets a caller write its own consequence (a job's result) in the same round
trip: a CTE that reads the one-row table `moved`. So the wallet's lock lasts no longer
than the movement. `docs/examples/settle.md` shows a reservation and its settlement.
"""

from wallet.ledger.budgets import (
    book_all_missing_terms,
    book_missing_terms,
    set_budget,
    set_overdraft_limit,
    spending,
)
from wallet.ledger.claw_backs import claw_back, reinstate
from wallet.ledger.credits import (
    adjust,
    balance,
    balance_at,
    consume,
    consume_many,
    grant,
)
from wallet.ledger.jobs import (
    NOW,
    expire,
    expire_due,
    extend,
    lock,
    release,
    reserve,
    settle,
)
from wallet.outcomes import (
    AlreadyReinstated,
    AlreadyResolved,
    Balance,
    BudgetExceeded,
    Charge,
    ClawedBack,
    Consequence,
    DuplicateKey,
    ExceedsPurchase,
    Extended,
    Granted,
    InsufficientCredits,
    Reinstated,
    Released,
    ReservationExpired,
    Reserved,
    Settled,
    Spending,
    Taken,
    TtlTooLong,
    UnknownClawBack,
    UnknownPurchase,
)

__all__ = [
    "NOW",
    "AlreadyReinstated",
    "AlreadyResolved",
    "Balance",
    "BudgetExceeded",
    "Charge",
    "ClawedBack",
    "Consequence",
    "DuplicateKey",
    "ExceedsPurchase",
    "Extended",
    "Granted",
    "InsufficientCredits",
    "Reinstated",
    "Released",
    "ReservationExpired",
    "Reserved",
    "Settled",
    "Spending",
    "Taken",
    "TtlTooLong",
    "UnknownClawBack",
    "UnknownPurchase",
    "adjust",
    "balance",
    "balance_at",
    "book_all_missing_terms",
    "book_missing_terms",
    "claw_back",
    "consume",
    "consume_many",
    "expire",
    "expire_due",
    "extend",
    "grant",
    "lock",
    "reinstate",
    "release",
    "reserve",
    "set_budget",
    "set_overdraft_limit",
    "settle",
    "spending",
]
