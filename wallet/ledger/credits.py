"""Credits in, credits out without a job, and the balance as of now."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from accounts.models import App
from focus.database.statements import rows
from wallet.ledger.calling import (
    Refusal,
    call,
    checked_actor,
    one_account_per_key,
    raise_refusal,
    refusal_of,
)
from wallet.models import Grant
from wallet.outcomes import (
    Balance,
    Charge,
    Consequence,
    Granted,
    Taken,
)

# An id that no app has.
NO_APP = UUID(int=0)


def balance(*, account_id: UUID, app_id: UUID | None = None) -> Balance:
    """Return the balance as of now, also of expiries that no sweep has booked.

    With `app_id`, `credits_micro` is what that app may spend. Takes no lock.
    """
    row = call(
        "SELECT * FROM ledger.balance(%(account)s, %(app)s)",
        {"account": account_id, "app": app_id},
    )
    return Balance.from_row(row)


def balance_at(*, account_id: UUID, slug: str) -> Balance:
    """Return the balance as of now for the app `slug`.

    It leaves out credits that only other apps may spend. An unknown slug counts as an
    app without credits of its own.
    """
    row = call(
        "SELECT * FROM ledger.balance(%(account)s, coalesce((SELECT id FROM"
        " accounts_app WHERE slug = %(slug)s), %(none)s))",
        {"account": account_id, "slug": slug, "none": NO_APP},
    )
    return Balance.from_row(row)


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
    """Grant credits, once per `key` for ever; a repeat returns `created` False.

    `only_for` is the only app that may spend them. `given_by` is the app that the
    account joined when it got them. Paid grants and adjustments repay debt first.
    """
    paid_from = "stripe" if category == Grant.Category.PAID else "issuance"
    row = call(
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
        Balance.from_row(row),
    )


def consume(
    *,
    account_id: UUID,
    app: App,
    amount_micro: int,
    actor: str,
    reason: str,
    key: str,
    by_person: bool = False,
    then: Consequence | None = None,
) -> Taken:
    """Charge at once, without a job, once per `key` for ever.

    `by_person` is as for `reserve`. Raises `InsufficientCredits`, `BudgetExceeded`,
    `AppNotGranted`, `AppInactive` and `TokenEnded`. A repeated key returns the first
    movement. `then` must write nothing unless `moved.outcome = 'taken'`.
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
        by="person" if by_person else "app",
        then=then,
    )


def consume_many(
    *, app: App, actor: str, charges: Iterable[Charge]
) -> list[Taken | Refusal]:
    """Make many charges in one round trip; returns one answer per charge, in order.

    A charge that is refused returns its refusal, and the other charges are made. A key
    that has charged another account is the caller's mistake: it raises `DuplicateKey`,
    and no charge is made.
    """
    wanted = list(charges)
    with one_account_per_key():
        answers = rows(
            "SELECT * FROM ledger.consume_many(%(app)s, %(slug)s, %(actor)s,"
            " %(accounts)s::uuid[], %(amounts)s::bigint[], %(reasons)s::text[],"
            " %(keys)s::text[]) ORDER BY position",
            {
                "app": app.pk,
                "slug": app.slug,
                "actor": checked_actor(actor),
                "accounts": [charge.account_id for charge in wanted],
                "amounts": [charge.amount_micro for charge in wanted],
                "reasons": [charge.reason for charge in wanted],
                "keys": [charge.key for charge in wanted],
            },
        )
    return [
        refusal_of(row, charge.amount_micro) or Taken.from_row(row)
        for row, charge in zip(answers, wanted, strict=True)
    ]


def adjust(
    *, account_id: UUID, amount_micro: int, actor: str, reason: str, key: str
) -> Granted | Taken:
    """Grant (positive) or take (negative) credits as staff, once per `key`.

    Raises `InsufficientCredits` if the wallet holds less than the amount to take.
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
    *,
    by: str = "staff",
    then: Consequence | None = None,
) -> Taken:
    with one_account_per_key():
        row = call(
            "SELECT * FROM ledger.take_by(%(by)s, %(account)s, %(app)s, %(kind)s,"
            " %(to)s, %(amount)s, %(actor)s, %(reason)s, %(key)s)",
            {
                "by": by,
                "account": account_id,
                "app": app and app.pk,
                "kind": kind,
                "to": to,
                "amount": amount_micro,
                "actor": actor,
                "reason": reason,
                "key": key,
            },
            then,
        )
    raise_refusal(row, amount_micro)
    return Taken.from_row(row)
