"""A wallet's limits: monthly budgets by app, and the overdraft limit.

The chain of entries proves both.
"""

from typing import LiteralString
from uuid import UUID

from accounts.models import App
from focus.database.statements import rows, tuples
from wallet.ledger.calling import call
from wallet.outcomes import Spending


def set_budget(
    *, account_id: UUID, app: App, limit_micro: int | None
) -> tuple[Spending, Spending]:
    """Set the monthly limit of an app, or lift it (None), as the wallet's owner.

    Returns this month's spending under the old limit and under the new one. Spending
    earlier this month counts, also from before the first limit. A limit below that
    stops further spending and returns no credits.
    """
    row = call(
        "SELECT * FROM ledger.set_budget_by(%(account)s, %(app)s, %(limit)s,"
        " %(actor)s)",
        {
            "account": account_id,
            "app": app.pk,
            "limit": limit_micro,
            "actor": f"user:{account_id}",
        },
    )
    spent = row["spent_micro"]
    return Spending(row["limit_before_micro"], spent), Spending(limit_micro, spent)


def spending(*, account_id: UUID) -> dict[UUID, Spending]:
    """Return this month's spending by app id, for apps with a limit or with spending.

    Counts expiries that no sweep has booked yet, as `balance` does. Takes no lock.
    """
    found = rows(
        "SELECT * FROM ledger.spending(%(account)s)",
        {"account": account_id},
    )
    return {
        row["app_id"]: Spending(row["limit_micro"], row["spent_micro"]) for row in found
    }


def set_overdraft_limit(*, account_id: UUID, limit_micro: int, actor: str) -> int:
    """Set how much debt apps with the policy `overflow` may cause.

    Returns the previous limit. A debt above the limit stays, and cannot grow.
    """
    row = call(
        "SELECT * FROM ledger.set_overdraft_limit(%(account)s, %(limit)s, %(actor)s)",
        {"account": account_id, "limit": limit_micro, "actor": actor},
    )
    return int(row["limit_before_micro"])


def book_missing_terms(*, account_id: UUID) -> int:
    """Book the terms that rows of older releases have and their entries lack.

    Returns the number of new entries; a repeat returns 0.
    """
    row = call("SELECT * FROM ledger.adopt(%(account)s)", {"account": account_id})
    return int(row["booked"])


def book_all_missing_terms(*, limit: int = 10_000) -> int:
    """Book missing terms in at most `limit` wallets, each in its own transaction.

    Returns the number of wallets; 0 means that no grant lacks its terms.
    """
    found = tuples(_WITHOUT_TERMS, {"limit": limit})
    for (account_id,) in found:
        book_missing_terms(account_id=account_id)
    return len(found)


_WITHOUT_TERMS: LiteralString = """
    SELECT DISTINCT w.account_id FROM wallet_grant g
    JOIN wallet_wallet w ON w.id = g.wallet_id
    WHERE g.has_credits AND NOT EXISTS (SELECT FROM wallet_entry e
      WHERE e.grant_id = g.id AND e.terms IS NOT NULL)
    LIMIT %(limit)s
"""
