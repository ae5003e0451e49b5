"""The apps that may spend an account's credits, and their monthly limits."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction

from accounts import audit
from accounts.audit import NO_VISITOR, Visitor
from accounts.models import App, User
from accounts.partners import consents
from focus.errors import NotFound
from focus.money import from_micro
from wallet import ledger
from wallet.ledger import Spending

NO_SPENDING = Spending(None, 0)


@dataclass(frozen=True)
class Spender:
    """An app and its spending in one wallet.

    `granted_at` is None if the account has no live consent for the app. `month` is this
    calendar month in UTC.
    """

    app: App
    granted_at: datetime | None
    month: Spending


def spenders(*, user: User) -> list[Spender]:
    """Return the apps that may spend the user's credits now, the newest first."""
    months = ledger.spending(account_id=user.pk)
    return [
        Spender(row.app, row.granted_at, months.get(row.app_id, NO_SPENDING))
        for row in consents.granted(user=user)
    ]


def revoke(*, user: User, slug: str, visitor: Visitor = NO_VISITOR) -> Spender:
    """Revoke the app's consent, and return the app as it was before.

    Waits for a charge by the app, as `consents.revoke` does. Raises `NotFound` if the
    app may not spend the user's credits now.
    """
    found = next((row for row in spenders(user=user) if row.app.slug == slug), None)
    if found is None or not consents.revoke(
        user=user, app_id=found.app.pk, visitor=visitor
    ):
        raise NotFound("No such app acts for you.")
    return found


def spenders_in_wallet(*, account_id: UUID) -> list[tuple[App, Spending]]:
    """Return every app with a limit in the wallet or with spending this month."""
    months = ledger.spending(account_id=account_id)
    apps = App.objects.filter(pk__in=months).order_by("slug")
    return [(app, months[app.pk]) for app in apps]


def limit_of(*, user: User, app: App) -> int | None:
    """Return the app's monthly limit in micro-credits, or None without a limit."""
    return ledger.spending(account_id=user.pk).get(app.pk, NO_SPENDING).limit_micro


def raises_limit(*, user: User, app: App, limit_micro: int | None) -> bool:
    """Return whether the new limit lets `app` spend more than the current one."""
    now = limit_of(user=user, app=app)
    return now is not None and (limit_micro is None or limit_micro > now)


@transaction.atomic
def set_limit(
    *, user: User, app: App, limit_micro: int | None, visitor: Visitor = NO_VISITOR
) -> Spender:
    """Set the app's monthly limit, or lift it (None), and record a change in the audit.

    The limit outlives a revoked consent and applies again after a new one. It may be
    set before the first consent.
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
            limit=_as_text(limit_micro),
            limit_before=_as_text(before.limit_micro),
        )
    consent = consents.granted(user=user).filter(app=app).first()
    return Spender(app, consent.granted_at if consent else None, month)


def _as_text(micro: int | None) -> str | None:
    return None if micro is None else str(from_micro(micro))
