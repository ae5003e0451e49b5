"""How far a wallet may go: what a person lets an app spend in a month, and how deep
debt may become. The chain of entries proves both.
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
    """Limit what an app may spend each month, or (None) lift the limit, as the owner.

    Answers with this month before and after. What was spent this month counts, also
    from before there was a limit; a limit below that stops further spending and takes
    nothing back.
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
    """This month by app id: the apps with a limit, and those that have spent.

    By now, as the balance is: waits for no lock and for no sweeper.
    """
    found = rows(
        "SELECT * FROM ledger.spending(%(account)s)",
        {"account": account_id},
    )
    return {
        row["app_id"]: Spending(row["limit_micro"], row["spent_micro"]) for row in found
    }


def set_overdraft_limit(*, account_id: UUID, limit_micro: int, actor: str) -> int:
    """Let apps with the policy `overflow` take the wallet so deep into debt.

    Returns the limit before. A deeper debt stays, and is not added to.
    """
    row = call(
        "SELECT * FROM ledger.set_overdraft_limit(%(account)s, %(limit)s, %(actor)s)",
        {"account": account_id, "limit": limit_micro, "actor": actor},
    )
    return int(row["limit_before_micro"])


def book_missing_terms(*, account_id: UUID) -> int:
    """Book the terms that rows of older releases have and their entries lack.

    Returns how many entries that took: none, where it was done before.
    """
    row = call("SELECT * FROM ledger.adopt(%(account)s)", {"account": account_id})
    return int(row["booked"])


def book_all_missing_terms(*, limit: int = 10_000) -> int:
    """The same for at most `limit` wallets with a grant that lacks its terms, each in
    its own transaction. Returns how many there were.
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
