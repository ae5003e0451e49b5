"""/apps: who may spend a person's credits in their name, and how much a month."""

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts import consents
from accounts.authentication import visitor
from accounts.models import App, User
from accounts.visit import signed_in
from focus.money import NotAnAmount, from_micro
from wallet import budgets
from wallet.adjustments import read_credits


@require_safe
@signed_in
def page(request: HttpRequest, user: User) -> HttpResponse:
    return _page(request, user)


@require_POST
@signed_in
def revoke(request: HttpRequest, user: User, app_id: uuid.UUID) -> HttpResponse:
    if consents.revoke(user=user, app_id=app_id, visitor=visitor(request)):
        messages.success(
            request, "You revoked the app. It can no longer spend your credits."
        )
    return redirect("/apps")


@require_POST
@signed_in
def limit(request: HttpRequest, user: User, app_id: uuid.UUID) -> HttpResponse:
    """An empty field lifts the limit."""
    granted = consents.granted(user=user).values("app_id")
    app = get_object_or_404(App, pk=app_id, pk__in=granted)
    try:
        wanted = _wanted(request.POST.get("limit", ""))
    except NotAnAmount as wrong:
        error = f"{app.name}: {wrong}"
        return _page(request, user, wrong=app, error=error, status=400)
    budgets.set_limit(user=user, app=app, limit_micro=wanted, visitor=visitor(request))
    if wanted is None:
        messages.success(request, f"{app.name} has no monthly limit.")
    else:
        said = f"{from_micro(wanted):,}"
        messages.success(request, f"{app.name} may spend {said} credits a month.")
    return redirect("/apps")


# One sentence for all that may be wrong: each is a way to write another number.
_LIMITS = (
    "The limit must be a number of credits such as 5, 0.5 or 0, with at most 6 "
    "decimals and at most 1,000,000,000. Leave the field empty for no limit."
)


def _page(
    request: HttpRequest,
    user: User,
    *,
    wrong: App | None = None,
    error: str = "",
    status: int = 200,
) -> HttpResponse:
    """The apps; of the one whose limit is `wrong`, what was typed."""
    apps = [_row(spender) for spender in budgets.spenders(user=user)]
    for row in apps:
        if wrong is not None and row["app"].pk == wrong.pk:
            row |= {"typed": request.POST.get("limit", "")[:40], "wrong": True}
    about = {"user": user, "apps": apps, "error": error}
    return render(request, "accounts/apps.html", about, status=status)


def _wanted(typed: str) -> int | None:
    if not typed.strip():
        return None
    try:
        micro = read_credits(typed)
    except NotAnAmount as wrong:
        raise NotAnAmount(_LIMITS) from wrong
    if micro < 0:
        raise NotAnAmount(_LIMITS)
    return micro


def _row(spender: budgets.Spender) -> dict[str, Any]:
    month = spender.month
    limited = month.limit_micro is not None
    return {
        "app": spender.app,
        "granted_at": spender.granted_at,
        "spent": f"{from_micro(month.spent_micro):,}",
        "limited": limited,
        "limit": f"{from_micro(month.limit_micro or 0):,}",
        "typed": str(from_micro(month.limit_micro or 0)) if limited else "",
        "used_up": limited and not month.left_micro,
    }
