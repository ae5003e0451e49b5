"""Monthly spending limits: a person sets, lifts and reads them, on record."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction

from accounts import audit
from accounts.audit import NO_VISITOR, Visitor
from accounts.models import App, User
from accounts.partners import consents
from focus.money import from_micro
from wallet import ledger
from wallet.ledger import Spending

NO_SPENDING = Spending(None, 0)


@dataclass(frozen=True)
class Spender:
    """An app in one person's eyes. `granted_at` is None where it may not act for them.

    `month` is this calendar month in UTC.
    """

    app: App
    granted_at: datetime | None
    month: Spending


def spenders(*, user: User) -> list[Spender]:
    """The apps that may spend this person's credits now, newest first."""
    months = ledger.spending(account_id=user.pk)
    return [
        Spender(row.app, row.granted_at, months.get(row.app_id, NO_SPENDING))
        for row in consents.granted(user=user)
    ]


def spenders_in_wallet(*, account_id: UUID) -> list[tuple[App, Spending]]:
    """Every app with a limit in this wallet, or spending in it this month."""
    months = ledger.spending(account_id=account_id)
    apps = App.objects.filter(pk__in=months).order_by("slug")
    return [(app, months[app.pk]) for app in apps]


def limit_of(*, user: User, app: App) -> int | None:
    """What `app` may spend a month at most, in micro-credits; None for no limit."""
    return ledger.spending(account_id=user.pk).get(app.pk, NO_SPENDING).limit_micro


def raises_limit(*, user: User, app: App, limit_micro: int | None) -> bool:
    """Whether this limit lets `app` spend more than the one that is set now."""
    now = limit_of(user=user, app=app)
    return now is not None and (limit_micro is None or limit_micro > now)


@transaction.atomic
def set_limit(
    *, user: User, app: App, limit_micro: int | None, visitor: Visitor = NO_VISITOR
) -> Spender:
    """Let `app` spend so much a month and no more; None lifts the limit.

    It outlives a revoked consent, so an app that is let in again finds it there. Any
    app may be limited, before it is granted anything.
    """
    before, month = ledger.set_budget(
        account_id=user.pk, app=app, limit_micro=limit_micro
    )
    if before.limit_micro != limit_micro:
        audit.record(
            "spending_limit_lifted" if limit_micro is None else "spending_limit_set",
            user=user,
            visitor=visitor,
            app_id=str(app.pk),
            limit=_said(limit_micro),
            limit_before=_said(before.limit_micro),
        )
    consent = consents.granted(user=user).filter(app=app).first()
    return Spender(app, consent.granted_at if consent else None, month)


def _said(micro: int | None) -> str | None:
    return None if micro is None else str(from_micro(micro))
