"""Pages for people: to the till, and back from it."""

import hashlib
import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.views.decorators.http import require_POST, require_safe

from accounts.models import User
from accounts.visit import person, signed_in
from focus.errors import DomainError, NotFound
from focus.money import from_micro
from payments import packs, plans, subscriptions
from payments.models import Purchase
from wallet import ledger

# How often the page of a payment that is under way looks again, and for how long.
EVERY_SECONDS = 3
LOOKS = 100


@require_safe
@signed_in
def shop(request: HttpRequest, user: User) -> HttpResponse:
    """What there is to buy. Each form is named, so that two clicks are one purchase."""
    balance = ledger.balance(account_id=user.pk)
    about = {
        "user": user,
        "available": f"{from_micro(balance.credits_micro):,}",
        "debt": from_micro(balance.debt_micro),
        "packs": [(pack, uuid.uuid4().hex) for pack in packs.on_sale()],
        "plans": plans.offered(),
        "plan": plans.plan_of(account_id=user.pk),
        "subscription": plans.subscription_of(account_id=user.pk),
    }
    return render(request, "payments/credits.html", about)


@require_POST
@signed_in
def buy(request: HttpRequest, user: User) -> HttpResponse:
    """To Stripe. The form has a name of its own, so two clicks are one purchase."""
    form = f"form\n{user.pk}\n{request.POST.get('form', '')}"
    once = hashlib.sha256(form.encode()).digest() if request.POST.get("form") else None
    try:
        till = packs.buy(account=user, sku=request.POST.get("sku", ""), once=once)
    except DomainError as refusal:
        return _home_with(request, refusal)
    return leave_for(request, till.url)


@require_POST
@signed_in
def choose(request: HttpRequest, user: User) -> HttpResponse:
    """To a plan, or to another one."""
    try:
        way = subscriptions.choose(account=user, slug=request.POST.get("plan", ""))
    except DomainError as refusal:
        return _home_with(request, refusal)
    return leave_for(request, way.url)


@require_POST
@signed_in
def manage(request: HttpRequest, user: User) -> HttpResponse:
    """To Stripe's customer portal."""
    try:
        way = subscriptions.manage(account=user)
    except DomainError as refusal:
        return _home_with(request, refusal)
    return leave_for(request, way.url)


@require_safe
def success(request: HttpRequest) -> HttpResponse:
    """What became of the payment, as far as Stripe has told us.

    The session's id is a secret that only its payer was sent here with; what the page
    says without a sign-in is no more than they know.
    """
    session_id = request.GET.get("session_id", "")
    try:
        about = _bought(request, session_id)
    except NotFound:
        return render(request, "payments/unknown.html", status=404)
    looks = _number(request.GET.get("looks", "0"))
    if about["state"] == "pending" and looks < LOOKS:
        about["again"] = f"?session_id={session_id}&looks={looks + 1}"
        about["seconds"] = EVERY_SECONDS
    return render(request, "payments/success.html", about)


@require_safe
def cancelled(request: HttpRequest) -> HttpResponse:
    return render(request, "payments/cancelled.html")


def leave_for(request: HttpRequest, url: str) -> HttpResponse:
    """Send the browser to a page of Stripe's.

    By a page and not by a redirect: `form-action` is checked on redirects as well, and
    would have to name every host that Stripe serves a till from.
    """
    return render(request, "payments/leaving.html", {"url": url})


def _home_with(request: HttpRequest, refusal: DomainError) -> HttpResponse:
    messages.error(request, f"{refusal.message} Nothing was charged.")
    return redirect("/credits")


def _bought(request: HttpRequest, session_id: str) -> dict[str, Any]:
    if (plan := subscriptions.chosen_in(session_id=session_id)) is not None:
        return {"plan": plan.name, "state": plan.state}
    purchase = packs.purchase_paid_in(session_id=session_id)
    user = person(request)
    own = user is not None and user.pk == purchase.account_id
    waits = purchase.status == Purchase.Status.OPEN
    return {
        "what": f"{from_micro(purchase.credits_micro):,} credits",
        "price": purchase.price_dollars,
        "state": "pending" if waits else str(purchase.status),
        "balance": _balance(purchase) if own else "",
    }


def _balance(purchase: Purchase) -> str:
    balance = ledger.balance(account_id=purchase.account_id)
    return f"{from_micro(balance.credits_micro):,}"


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0


urlpatterns = [
    path("credits", shop),
    path("credits/buy", buy),
    path("credits/plan", choose),
    path("credits/portal", manage),
    path("payment/success", success),
    path("payment/cancelled", cancelled),
]
