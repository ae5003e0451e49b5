"""What a person lets an app spend in a month, counted under the wallet's lock."""

from uuid import UUID

from accounts.models import App
from focus.database.statements import rows
from wallet.ledger.calling import call
from wallet.outcomes import Spending


def set_budget(
    *, account_id: UUID, app: App, limit_micro: int | None
) -> tuple[Spending, Spending]:
    """Limit what an app may spend each month, or (None) lift the limit.

    Answers with this month before and after. What was spent this month counts, also
    from before there was a limit; a limit below that stops further spending and takes
    nothing back.
    """
    row = call(
        "SELECT * FROM ledger.set_budget(%(account)s, %(app)s, %(limit)s)",
        {"account": account_id, "app": app.pk, "limit": limit_micro},
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
