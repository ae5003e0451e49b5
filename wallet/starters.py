"""Starter credits: an app's one grant to each account that joins it.

`visit` reads the wallet for a caller, and grants the credits on the way.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet

from accounts.credentials import access
from accounts.credentials.principals import Principal
from accounts.models import App, Consent, User
from accounts.partners import apps as partner_apps
from accounts.partners import consents
from wallet import ledger
from wallet.models import Grant


@dataclass(frozen=True)
class Membership:
    """An app that the account has joined, and its starter credits.

    `granted_at` is the time of their grant, or None without one. `starter_micro` is the
    granted amount, or the amount that the app grants today.
    """

    app: App
    starter_micro: int
    granted_at: datetime | None


@dataclass(frozen=True)
class WalletVisit:
    """A wallet as one caller may see it.

    `app` is the app that the caller named, or None. `balance` is what that app may
    spend, or the app of the credential, or else the user.
    """

    app: App | None
    balance: ledger.Balance
    memberships: list[Membership]


def visit(*, principal: Principal, user: User, slug: str | None) -> WalletVisit:
    """Return the wallet of `user` for a credential, and with `slug` join that app.

    Joining records the consent and grants the starter credits, if the credential may
    let the app in. A credential that is bound to an app sees only this app. Raises
    `TokenBoundToApp` if `slug` is another app, `UnknownApp`, and as `consents.grant`.
    """
    app, bound = None, principal.bound_to
    if slug is not None:
        access.require_own_app(principal=principal, app=slug)
        app = partner_apps.find_active(slug)
        if access.may_let_in(principal=principal, app=app):
            record_consent_and_grant(user=user, app=app, actor=f"user:{user.pk}")
    spender = app or bound
    balance = ledger.balance(account_id=user.pk, app_id=spender.pk if spender else None)
    joined = memberships(account_id=user.pk)
    if bound is not None:
        joined = [each for each in joined if each.app == bound]
    return WalletVisit(app, balance, joined)


def record_consent_and_grant(*, user: User, app: App, actor: str) -> None:
    """Record the user's consent for `app`, and grant its starter credits once.

    Only that app may spend them, unless its setting allows every app. Concurrent calls
    grant once: the ledger looks for the money key under the wallet's lock. Raises as
    `consents.grant` does.
    """
    account_id = user.pk
    consents.grant(user=user, app_id=app.pk)
    if not app.starter_credits_micro or _starter_grants(account_id, app).exists():
        return
    ledger.grant(
        account_id=account_id,
        amount_micro=app.starter_credits_micro,
        source=Grant.Source.STARTER,
        actor=actor,
        reason=f"starter credits of {app.name}",
        key=f"starter:{account_id}:{app.pk}",
        given_by=app,
        only_for=app if app.starter_credits_at == App.StarterCreditsAt.APP else None,
    )


def memberships(*, account_id: UUID) -> list[Membership]:
    """Return the apps that the account has joined, in the order of their consents."""
    granted = {
        grant.given_by_id: grant
        for grant in Grant.objects.filter(
            wallet__account_id=account_id, source=Grant.Source.STARTER
        )
    }
    met = (
        Consent.objects.filter(user_id=account_id)
        .select_related("app")
        .order_by("granted_at", "pk")
    )
    return [
        Membership(
            consent.app,
            grant.granted_micro if grant else consent.app.starter_credits_micro,
            grant.created_at if grant else None,
        )
        for consent in met
        for grant in [granted.get(consent.app_id)]
    ]


def _starter_grants(account_id: UUID, app: App) -> QuerySet[Grant]:
    return Grant.objects.filter(
        wallet__account_id=account_id, given_by=app, source=Grant.Source.STARTER
    )
