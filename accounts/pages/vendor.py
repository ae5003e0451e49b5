"""/vendor: publish tools, manage their keys and see their usage."""

import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from accounts.authentication import visitor
from accounts.credentials.app_keys import IssuedAppKey
from accounts.credentials.proofs import SecondProofRequired
from accounts.models import App, User
from accounts.pages.tools import spell
from accounts.pages.visit import owners, require_second_proof
from accounts.partners import tools
from accounts.partners.apps import Offer
from focus.errors import DomainError, NotFound
from focus.money import NotAnAmount, to_micro
from jobs import usage

OVERLAPS = {0: "immediately", 3600: "in 1 hour", 86_400: "in 1 day"}
# Units of the chart's SVG: bar with gap, bar alone, height of the highest bar.
STEP, BAR, TALL = 20, 14, 80


class BadPrice(DomainError):
    """The form contains no valid price."""

    code = "invalid_price"


@require_http_methods(["GET", "HEAD", "POST"])
@owners
def home(request: HttpRequest, user: User) -> HttpResponse:
    """List the person's apps; a POST publishes a tool and shows its first key."""
    if request.method != "POST":
        return _home(request, user)
    form = request.POST
    try:
        require_second_proof(request)
        issued = tools.publish(
            owner=user,
            slug=form.get("slug", "").strip(),
            name=_name(form.get("name", "")),
            offer=_offer(form),
        )
    except DomainError as refusal:
        return _home(request, user, refusal)
    return _show(request, user, issued)


@require_http_methods(["GET", "HEAD", "POST"])
@owners
def app(request: HttpRequest, user: User, app_id: uuid.UUID) -> HttpResponse:
    """Show one app's usage, offer and keys; a POST changes the offer."""
    if request.method != "POST":
        return _app(request, user, app_id)
    form = request.POST
    try:
        require_second_proof(request)
        tools.change(
            owner=user,
            app_id=app_id,
            name=_name(form.get("name", "")),
            offer=_offer(form),
            visitor=visitor(request),
        )
    except NotFound:
        raise
    except DomainError as refusal:
        return _app(request, user, app_id, refusal)
    messages.success(request, "Saved.")
    return redirect(f"/vendor/{app_id}")


@require_POST
@owners
def switch(request: HttpRequest, user: User, app_id: uuid.UUID) -> HttpResponse:
    """Switch an own app on or off; on needs a recent second proof."""
    active = request.POST.get("active") == "1"
    try:
        if active:
            require_second_proof(request)
        tools.set_active(
            owner=user, app_id=app_id, active=active, visitor=visitor(request)
        )
    except (tools.SwitchedOffBySupport, SecondProofRequired) as refusal:
        messages.error(request, refusal.message)
    else:
        text = f"The app is switched {'on' if active else 'off'}."
        messages.success(request, text)
    return redirect(f"/vendor/{app_id}")


@require_POST
@owners
def settling(request: HttpRequest, user: User, app_id: uuid.UUID) -> HttpResponse:
    """Set whether only app keys may settle jobs that users start themselves."""
    key_only = request.POST.get("settle_with_app_key_only") == "on"
    tools.set_settling(
        owner=user, app_id=app_id, key_only=key_only, visitor=visitor(request)
    )
    messages.success(request, "Saved.")
    return redirect(f"/vendor/{app_id}#settling")


@require_POST
@owners
def new_key(request: HttpRequest, user: User, app_id: uuid.UUID) -> HttpResponse:
    """Create a key for an own app and show it once."""
    name = _name(request.POST.get("name", ""))
    return _issue(
        request,
        user,
        app_id,
        lambda: tools.add_key(owner=user, app_id=app_id, name=name),
    )


@require_POST
@owners
def rotate_key(
    request: HttpRequest, user: User, app_id: uuid.UUID, key_id: uuid.UUID
) -> HttpResponse:
    """Replace a key and show the new one once.

    The old key keeps working for `overlap_seconds` of the form.
    """
    typed = request.POST.get("overlap_seconds", "")
    overlap = int(typed) if typed.isdecimal() and len(typed) < 9 else -1
    return _issue(
        request,
        user,
        app_id,
        lambda: tools.rotate_key(
            owner=user, app_id=app_id, key_id=key_id, overlap_seconds=overlap
        ),
    )


@require_POST
@owners
def revoke_key(
    request: HttpRequest, user: User, app_id: uuid.UUID, key_id: uuid.UUID
) -> HttpResponse:
    """Revoke a key of an own app."""
    key = tools.revoke_key(owner=user, app_id=app_id, key_id=key_id)
    messages.success(request, f"You revoked the key {key}.")
    return redirect(f"/vendor/{app_id}#keys")


def bars(values: Sequence[int]) -> list[dict[str, int]]:
    """Return the position of each bar of a chart.

    A value above 0 gets at least 2 units, so that its bar is visible.
    """
    most = max(values, default=0) or 1
    heights = [max(2, value * TALL // most) if value else 0 for value in values]
    return [
        {"x": place * STEP, "y": TALL - height, "height": height}
        for place, height in enumerate(heights)
    ]


def _issue(
    request: HttpRequest,
    user: User,
    app_id: uuid.UUID,
    make: Callable[[], IssuedAppKey],
) -> HttpResponse:
    try:
        require_second_proof(request)
        return _show(request, user, make())
    except NotFound:
        raise
    except DomainError as refusal:
        messages.error(request, refusal.message)
        return redirect(f"/vendor/{app_id}#keys")


def _show(request: HttpRequest, user: User, issued: IssuedAppKey) -> HttpResponse:
    """Show the secret in this response, which no cache may store."""
    about = {"user": user, "key": issued.key, "secret": issued.secret}
    response = render(request, "accounts/vendor_key.html", about)
    response["Cache-Control"] = "no-store"
    return response


def _home(
    request: HttpRequest, user: User, refusal: DomainError | None = None
) -> HttpResponse:
    apps = list(tools.owned(owner=user))
    charged = usage.charged_by(app_ids=[app.pk for app in apps])
    about = {
        "user": user,
        "apps": [
            {
                "app": app,
                "price": spell(app.price_micro),
                "charged": spell(charged[app.pk]),
            }
            for app in apps
        ],
        "form": request.POST,
        "error": refusal.message if refusal else "",
    }
    status = 400 if refusal else 200
    return render(request, "accounts/vendor.html", about, status=status)


def _app(
    request: HttpRequest,
    user: User,
    app_id: uuid.UUID,
    refusal: DomainError | None = None,
) -> HttpResponse:
    app = tools.find_owned(owner=user, app_id=app_id)
    days = usage.per_day(app_id=app.pk)
    earned = [day.charged_micro for day in days]
    uses = [day.jobs + day.calls + day.sales for day in days]
    about: dict[str, Any] = {
        "user": user,
        "app": app,
        "form": request.POST or _saved_values(app),
        "error": refusal.message if refusal else "",
        "keys": tools.keys(owner=user, app_id=app_id),
        "overlaps": OVERLAPS,
        "earned": spell(sum(earned)),
        "calls": f"{sum(day.calls for day in days):,}",
        "sales": f"{sum(day.sales for day in days):,}",
        "jobs": f"{sum(day.jobs for day in days):,}",
        "charts": [
            _chart("Credits a day", days, earned, spell),
            _chart("Calls, sales and jobs a day", days, uses, str),
        ],
        "days": [
            {"day": day, "credits": spell(micro)}
            for day, micro in zip(reversed(days), reversed(earned), strict=True)
            if day.calls or day.sales or day.jobs
        ],
        "modes": App.DuplicateMode.choices,
        "width": len(days) * STEP,
        "tall": TALL,
        "bar": BAR,
    }
    status = 400 if refusal else 200
    return render(request, "accounts/vendor_app.html", about, status=status)


def _chart(
    title: str,
    days: Sequence[usage.Day],
    values: Sequence[int],
    say: Callable[[int], str],
) -> dict[str, Any]:
    drawn = zip(days, values, bars(values), strict=True)
    return {
        "title": title,
        "most": say(max(values, default=0)),
        "bars": [
            {**bar, "says": f"{day.date:%-d %b}: {say(value)}"}
            for day, value, bar in drawn
        ],
    }


def _saved_values(app: App) -> dict[str, Any]:
    return {
        "name": app.name,
        "price": spell(app.price_micro).replace(",", ""),
        "url": app.tool_url,
        "duplicate_mode": app.duplicate_mode,
        "sold_per_use": app.sold_per_use,
    }


def _name(typed: str) -> str:
    # PostgreSQL stores no NUL in a text.
    return " ".join(typed.replace("\0", "").split())[:120]


def _offer(form: Any) -> Offer:
    try:
        price = to_micro(Decimal(form.get("price", "").strip()))
    except (InvalidOperation, NotAnAmount) as wrong:
        raise BadPrice(
            "The price must be a number of credits, such as 5 or 0.5."
        ) from wrong
    mode = form.get("duplicate_mode", App.DuplicateMode.CONFLICT)
    if mode not in App.DuplicateMode.values:
        mode = App.DuplicateMode.CONFLICT
    per_use = form.get("sold_per_use") == "on"
    return Offer(price, form.get("url", "").strip(), mode, per_use)
