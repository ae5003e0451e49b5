"""Callbacks that unfold's settings name: menu, environment label and static files."""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse
from django.utils.text import capfirst

# (heading, [(model, icon)]). The menu omits models without a page and models that the
# reader may not view.
MENU = [
    (
        "Ledger",
        [
            ("wallet.Wallet", "account_balance_wallet"),
            ("wallet.Adjustment", "exposure"),
            ("wallet.Entry", "receipt_long"),
            ("wallet.Grant", "redeem"),
            ("wallet.Reservation", "hourglass_top"),
            ("wallet.Draw", "call_split"),
            ("wallet.Anchor", "anchor"),
        ],
    ),
    (
        "Payments",
        [
            ("payments.Pack", "sell"),
            ("payments.Plan", "workspace_premium"),
            ("payments.Purchase", "shopping_cart"),
            ("payments.Payment", "payments"),
            ("payments.Reversal", "undo"),
            ("payments.Subscription", "event_repeat"),
            ("payments.TopUpRule", "autorenew"),
            ("payments.TopUpAttempt", "bolt"),
            ("payments.StripeEvent", "move_to_inbox"),
            ("payments.Drift", "difference"),
        ],
    ),
    (
        "Work",
        [
            ("jobs.Job", "work"),
            ("jobs.Usage", "bolt"),
            ("jobs.ToolPurchase", "storefront"),
        ],
    ),
    (
        "Hosted work",
        [
            ("jobs.Run", "memory"),
            ("jobs.Restoration", "auto_fix_high"),
            ("jobs.StoredFile", "folder"),
            ("jobs.Price", "price_change"),
        ],
    ),
    (
        "Webhooks",
        [
            ("jobs.Endpoint", "webhook"),
            ("jobs.Event", "campaign"),
            ("jobs.Delivery", "outgoing_mail"),
        ],
    ),
    (
        "People",
        [
            ("accounts.User", "person"),
            ("accounts.Identity", "badge"),
            ("accounts.MailboxProof", "mark_email_read"),
            ("accounts.Consent", "handshake"),
            ("accounts.Session", "devices"),
            ("accounts.PersonalAccessToken", "key"),
            ("accounts.UserKey", "password"),
            ("accounts.DeviceGrant", "phonelink_lock"),
            ("accounts.Link", "link"),
            ("accounts.Sync", "sync"),
            ("accounts.Mail", "mail"),
            ("accounts.SecurityEvent", "policy"),
        ],
    ),
    ("Apps", [("accounts.App", "apps"), ("accounts.AppKey", "vpn_key")]),
    ("Staff", [("auth.Group", "groups"), ("focus.Failure", "error")]),
]


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the menu: groups of the lists that the reader may view."""
    overview = {
        "title": "Overview",
        "icon": "dashboard",
        "link": reverse("admin:index"),
        "active": request.path == reverse("admin:index"),
    }
    groups: list[dict[str, Any]] = [{"title": "", "items": [overview]}]
    for heading, models in MENU:
        items = [_item(request, label, icon) for label, icon in models]
        shown = [item for item in items if item]
        if shown:
            groups.append({"title": heading, "separator": True, "items": shown})
    return groups


def _item(request: HttpRequest, label: str, icon: str) -> dict[str, Any] | None:
    try:
        model = apps.get_model(label)
    except LookupError:
        return None
    page = admin.site._registry.get(model)
    if page is None or not page.has_view_permission(request):
        return None
    link = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return {
        "title": capfirst(str(model._meta.verbose_name_plural)),
        "icon": icon,
        "link": link,
        "active": request.path.startswith(link),
    }


def environment(request: HttpRequest) -> list[str] | None:
    """Return the label of a local server, where the money is not real."""
    return ["Local", "info"] if settings.LOCAL else None


def mark(request: HttpRequest) -> str:
    """Return the address of the site icon."""
    return static("accounts/mark.svg")


def stylesheet(request: HttpRequest) -> str:
    """Return the address of the staff stylesheet."""
    return static("wallet/admin.css")


def script(request: HttpRequest) -> str:
    """Return the address of the script against double clicks."""
    return static("wallet/once.js")
