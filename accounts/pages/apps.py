"""/apps: the apps that may spend an account's credits, and their monthly limits."""

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts.authentication import visitor
from accounts.credentials.proofs import SecondProofRequired
from accounts.models import App, User
from accounts.pages.signin import limiting
from accounts.pages.visit import require_second_proof, signed_in
from accounts.partners import consents
from focus.money import from_micro
from wallet import budgets


@require_safe
@signed_in
def page(request: HttpRequest, user: User) -> HttpResponse:
    """Show the apps with access, their spending this month and their limits."""
    return _page(request, user)


@require_POST
@signed_in
def revoke(request: HttpRequest, user: User, app_id: uuid.UUID) -> HttpResponse:
    """Revoke an app's access and redirect to /apps."""
    if consents.revoke(user=user, app_id=app_id, visitor=visitor(request)):
        messages.success(
            request, "You revoked the app. It can no longer spend your credits."
        )
    return redirect("/apps")


@require_POST
@signed_in
def limit(request: HttpRequest, user: User, app_id: uuid.UUID) -> HttpResponse:
    """Set the monthly limit; the button "No limit" or an empty field removes it."""
    granted = consents.granted(user=user).values("app_id")
    app = get_object_or_404(App, pk=app_id, pk__in=granted)
    try:
        wanted = limiting.read(request.POST, "limit")
        if budgets.raises_limit(user=user, app=app, limit_micro=wanted):
            require_second_proof(request)
    except limiting.BadLimit as wrong:
        error = f"{app.name}: {wrong.message}"
        return _page(request, user, wrong=app, error=error, status=400)
    except SecondProofRequired as weak:
        return _page(request, user, error=weak.message, status=403)
    budgets.set_limit(user=user, app=app, limit_micro=wanted, visitor=visitor(request))
    if wanted is None:
        messages.success(request, f"{app.name} has no monthly limit.")
    else:
        amount = f"{from_micro(wanted):,}"
        text = f"{app.name} can spend up to {amount} credits a month."
        messages.success(request, text)
    return redirect("/apps")


def _page(
    request: HttpRequest,
    user: User,
    *,
    wrong: App | None = None,
    error: str = "",
    status: int = 200,
) -> HttpResponse:
    """Render the apps; `wrong` is the app with the refused limit, shown as typed."""
    apps = [_row(spender) for spender in budgets.spenders(user=user)]
    for row in apps:
        if wrong is not None and row["app"].pk == wrong.pk:
            row |= {"typed": request.POST.get("limit", "")[:40], "wrong": True}
    about = {"user": user, "apps": apps, "error": error}
    return render(request, "accounts/apps.html", about, status=status)


def _row(spender: budgets.Spender) -> dict[str, Any]:
    month = spender.month
    limited = month.limit_micro is not None
    return {
        "app": spender.app,
        "granted_at": spender.granted_at,
        "spent": f"{from_micro(month.spent_micro):,}",
        "limited": limited,
        "limit": f"{from_micro(month.limit_micro or 0):,}",
        # An app without a limit gets a suggestion.
        "typed": str(from_micro(month.limit_micro or 0))
        if limited
        else limiting.suggested(month.spent_micro),
        "used_up": limited and not month.left_micro,
    }
