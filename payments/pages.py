"""/credits and /payment: the shop, the way to Stripe, and the result of a payment."""

import hashlib
import re
import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from accounts.authentication import visitor
from accounts.models import User
from accounts.pages.visit import person, signed_in
from focus.errors import DomainError, NotFound
from focus.money import MICRO, from_micro
from payments import packs
from payments.models import Purchase, TopUpRule
from payments.models.packs import dollars
from payments.plans import catalog as plan_catalog
from payments.plans import choosing
from payments.topups import charging
from payments.topups import setup as topup_setup
from wallet import ledger, statements

# How often and how many times the page of a pending payment reloads.
EVERY_SECONDS = 3
LOOKS = 100
_DOLLARS = re.compile(r"([0-9]{1,6})(?:\.([0-9]{1,2}))?")


@require_safe
@signed_in
def shop(request: HttpRequest, user: User) -> HttpResponse:
    """Show balance, packs, plans and automatic top-up.

    Each form has its own name, so that a double click is one purchase.
    """
    balance = ledger.balance(account_id=user.pk)
    plan = plan_catalog.plan_of(account_id=user.pk)
    about = {
        "user": user,
        "available": f"{from_micro(balance.credits_micro):,}",
        "only_at": [
            {"app": app, "credits": f"{from_micro(micro):,}"}
            for app, micro in statements.restricted_by_app(account_id=user.pk)
        ],
        "debt": from_micro(balance.debt_micro),
        "packs": [(pack, uuid.uuid4().hex) for pack in packs.on_sale()],
        "plans": plan_catalog.offered(),
        "plan": plan,
        "subscription": plan_catalog.subscription_of(account_id=user.pk),
        **_plan_change(request, plan),
        **_top_up(user),
    }
    return render(request, "payments/credits.html", about)


@require_POST
@signed_in
def buy(request: HttpRequest, user: User) -> HttpResponse:
    """Start the checkout of a pack; the form's name makes it idempotent."""
    once = _once(request, user)
    try:
        till = packs.buy(account=user, sku=request.POST.get("sku", ""), once=once)
    except DomainError as refusal:
        return _home_with(request, refusal)
    return leave_for(request, till.url)


@require_POST
@signed_in
def choose(request: HttpRequest, user: User) -> HttpResponse:
    """Start the checkout of a plan, or the change to another plan."""
    try:
        way = choosing.choose(account=user, slug=request.POST.get("plan", ""))
    except DomainError as refusal:
        return _home_with(request, refusal)
    return leave_for(request, way.url)


@require_POST
@signed_in
def top_up(request: HttpRequest, user: User) -> HttpResponse:
    """Set automatic top-up; redirect to Stripe if a card must be saved first."""
    given = request.POST
    try:
        till = topup_setup.set_up(
            account=user,
            sku=given.get("sku", ""),
            threshold=_number(given.get("threshold", "")),
            ceiling_cents=_cents(given.get("ceiling", "")),
            consent=given.get("consent") == "yes",
            another_card=given.get("card") == "another",
            once=_once(request, user),
            visitor=visitor(request),
        )
    except DomainError as refusal:
        return _home_with(request, refusal)
    if till is not None:
        return leave_for(request, till.url)
    messages.success(request, "Automatic top-up is on.")
    return redirect("/credits#top-up")


@require_POST
@signed_in
def top_up_off(request: HttpRequest, user: User) -> HttpResponse:
    """Switch automatic top-up off; with `forget`, remove the card too."""
    end = (
        topup_setup.forget_card
        if request.POST.get("forget")
        else topup_setup.switch_off
    )
    try:
        end(account=user, visitor=visitor(request))
    except DomainError as refusal:
        return _home_with(request, refusal)
    messages.success(request, "Automatic top-up is off.")
    return redirect("/credits#top-up")


@require_POST
@signed_in
def manage(request: HttpRequest, user: User) -> HttpResponse:
    """Redirect to Stripe's customer portal."""
    try:
        way = choosing.manage(account=user)
    except DomainError as refusal:
        return _home_with(request, refusal)
    return leave_for(request, way.url)


@require_safe
def success(request: HttpRequest) -> HttpResponse:
    """Show the state of a payment, as far as Stripe has confirmed it.

    The session id is a secret of the payer. Without a sign-in the page shows only what
    the payer already knows.
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
    """Show that the person left the payment page without a payment."""
    return render(request, "payments/cancelled.html")


def leave_for(request: HttpRequest, url: str) -> HttpResponse:
    """Send the browser to a page of Stripe.

    The response is a page with a refresh, not a redirect. Browsers check `form-action`
    on redirects too, so the policy would have to name every host of Stripe's checkout.
    """
    return render(request, "payments/leaving.html", {"url": url})


def _once(request: HttpRequest, user: User) -> bytes | None:
    """Return an idempotency key from the name of the form, or None without a name."""
    name = request.POST.get("form", "")
    form = f"form\n{user.pk}\n{name}"
    return hashlib.sha256(form.encode()).digest() if name else None


def _plan_change(request: HttpRequest, plan: str) -> dict[str, Any]:
    """Return the note about a plan change that the person confirmed at Stripe.

    Stripe redirects here before its event arrives, so the page reloads until the
    account is on the plan that `?plan=` names.
    """
    slug = request.GET.get("plan", "")
    wanted = next((it for it in plan_catalog.offered() if it.slug == slug), None)
    if wanted is None or plan == plan_catalog.FREE:
        return {}
    if wanted.slug == plan:
        return {"changed_to": wanted}
    looks = _number(request.GET.get("looks", "0"))
    reload = f"?plan={wanted.slug}&looks={looks + 1}" if looks < LOOKS else ""
    return {"changing_to": wanted, "again": reload, "seconds": EVERY_SECONDS}


def _top_up(user: User) -> dict[str, Any]:
    rule = topup_setup.rule_of(account=user)
    spent = charging.spent_cents(account_id=user.pk, at=timezone.now())
    return {
        "rule": rule,
        "threshold": rule.threshold_micro // MICRO if rule else 10,
        "ceiling": f"{(rule.ceiling_cents if rule else 2000) / 100:.2f}",
        "why": TopUpRule.Why(rule.off_because).label if rule else "",
        "waits": rule is not None and rule.saving is not None,
        "spent": dollars(spent),
        "attempts": charging.latest_attempts(account_id=user.pk),
        "form": uuid.uuid4().hex,
    }


def _cents(text: str) -> int:
    """Return a typed dollar amount in cents, or 0, which the rule refuses."""
    found = _DOLLARS.fullmatch(text.strip())
    return int(found[1]) * 100 + int((found[2] or "").ljust(2, "0")) if found else 0


def _home_with(request: HttpRequest, refusal: DomainError) -> HttpResponse:
    messages.error(request, f"{refusal.message} Nothing was charged.")
    return redirect("/credits")


def _bought(request: HttpRequest, session_id: str) -> dict[str, Any]:
    if (plan := choosing.chosen_in(session_id=session_id)) is not None:
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
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0


urlpatterns = [
    path("credits", shop),
    path("credits/buy", buy),
    path("credits/plan", choose),
    path("credits/portal", manage),
    path("credits/top-up", top_up),
    path("credits/top-up/off", top_up_off),
    path("payment/success", success),
    path("payment/cancelled", cancelled),
]
