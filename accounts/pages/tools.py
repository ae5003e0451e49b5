"""/tools and /purchases: tools on sale, confirmation of a price, and opening a tool."""

import uuid
from typing import Any
from urllib.parse import urlsplit

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from accounts.authentication import visitor
from accounts.credentials.principals import AppInactive
from accounts.models import User
from accounts.pages.visit import person, require_second_proof, signed_in
from accounts.partners import consents, origins, tools
from focus.errors import DomainError, NotFound
from focus.money import from_micro
from focus.web.middleware import page_policy
from jobs import tool_purchases
from jobs.models import ToolPurchase
from wallet import ledger, statements


@require_safe
def listed(request: HttpRequest) -> HttpResponse:
    """List the tools on sale; works without a sign-in."""
    user = person(request)
    bought = _bought(user) if user else {}
    about = {
        "user": user,
        "base": f"accounts/{'member' if user else 'base'}.html",
        "tools": [
            {"app": app, "price": spell(app.price_micro), "bought": bought.get(app.pk)}
            for app in tools.offered()[:200]
        ],
    }
    return render(request, "accounts/tools.html", about)


@require_POST
@signed_in
def buy(request: HttpRequest, user: User, tool_id: uuid.UUID) -> HttpResponse:
    """Create an unpaid purchase and redirect to its confirmation. Charges nothing."""
    try:
        purchase = tool_purchases.create(user=user, tool_id=tool_id)
    except NotFound:
        raise Http404 from None
    except AppInactive as refusal:
        return _refused(request, refusal)
    return redirect(f"/purchases/{purchase.pk}")


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def purchase(request: HttpRequest, user: User, purchase_id: uuid.UUID) -> HttpResponse:
    """Show the price; a POST pays at most once and redirects to the tool."""
    try:
        found = tool_purchases.find(user=user, purchase_id=purchase_id)
        if request.method != "POST":
            return _confirm(request, user, found)
        if not consents.is_granted(user_id=user.pk, app_id=found.app_id):
            require_second_proof(request)
        where = visitor(request)
        bought = tool_purchases.process(
            user=user, purchase_id=purchase_id, visitor=where
        )
    except NotFound:
        raise Http404 from None
    except ledger.InsufficientCredits as refusal:
        return _confirm(request, user, found, refusal)
    except DomainError as refusal:
        return _refused(request, refusal)
    response = HttpResponseRedirect(bought.url)
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "no-referrer"
    return response


def spell(micro: int) -> str:
    """Return micro-credits as credits with thousands separators."""
    return f"{from_micro(micro):,}"


def allowing(response: HttpResponse, bought: list[ToolPurchase]) -> HttpResponse:
    """Allow forms of this page to redirect to the tools that they open."""
    targets = {origins.origin_of(purchase.app.tool_url) for purchase in bought}
    known = sorted(filter(None, targets))
    response["Content-Security-Policy"] = page_policy(*known)
    return response


def _bought(user: User) -> dict[uuid.UUID, ToolPurchase]:
    """Return the newest purchase of each tool, by the tool's id."""
    return {it.app_id: it for it in reversed(tool_purchases.owned(user=user)[:200])}


def _confirm(
    request: HttpRequest,
    user: User,
    found: ToolPurchase,
    refusal: DomainError | None = None,
) -> HttpResponse:
    balance = ledger.balance(account_id=user.pk, app_id=found.app_id)
    host = (origins.origin_of(found.app.tool_url) or "").partition("://")[2]
    elsewhere = sum(
        micro
        for app, micro in statements.restricted_by_app(account_id=user.pk)
        if app.pk != found.app_id
    )
    about: dict[str, Any] = {
        "user": user,
        "purchase": found,
        "price": spell(found.price_micro),
        "credits": spell(balance.credits_micro),
        "left": spell(balance.credits_micro - found.price_micro),
        "elsewhere": spell(elsewhere) if elsewhere else "",
        "short": max(0, found.price_micro - balance.credits_micro),
        "host": host,
        "local": urlsplit(f"//{host}").hostname in ("localhost", "127.0.0.1", "::1"),
        "error": refusal.message if refusal else "",
    }
    status = 400 if refusal else 200
    response = render(request, "accounts/purchase.html", about, status=status)
    return allowing(response, [found])


def _refused(request: HttpRequest, refusal: DomainError) -> HttpResponse:
    about = {"user": person(request), "error": refusal.message}
    return render(request, "accounts/purchase_over.html", about, status=400)
