"""What tools charged at once, and who bought them."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from accounts.authentication import user_of
from focus.admin_site import search, shown
from focus.admin_site.lists import ReadOnly
from jobs import tool_purchases
from jobs.models import ToolPurchase, Usage


def whose(row: Any) -> Any:
    """The account of a row, as the way to its wallet."""
    where = reverse("admin:wallet_wallet_of", args=[row.account_id])
    return format_html('<a class="to" href="{}">{}</a>', where, row.account)


@admin.register(Usage)
class UsageAdmin(ReadOnly):
    list_display = ["made", "owner", "app", "amount", "reason", "key"]
    list_select_related = ["account", "app"]
    list_filter = ["app"]
    ordering = ["-id"]
    search_fields = ["key"]
    search_help_text = "The tool's own key of the charge"
    fields = [
        "id",
        "owner",
        "app",
        "key",
        "amount",
        "after",
        "reason",
        "movement_id",
        "made",
    ]

    def found(self, rows: QuerySet[Usage], term: str) -> QuerySet[Usage]:
        return rows.filter(key=term)

    @admin.display(description="at (UTC)")
    def made(self, usage: Usage) -> str:
        return shown.moment(usage.created_at)

    @admin.display(description="account")
    def owner(self, usage: Usage) -> Any:
        return whose(usage)

    @admin.display(description="charged")
    def amount(self, usage: Usage) -> Any:
        return shown.amount(usage.amount_micro)

    @admin.display(description="left for the tool")
    def after(self, usage: Usage) -> Any:
        return shown.amount(usage.balance_after_micro)


@admin.register(ToolPurchase)
class ToolPurchaseAdmin(ReadOnly):
    list_display = ["made", "owner", "app", "price", "state", "paid", "revoked"]
    list_select_related = ["account", "app"]
    list_filter = [
        "app",
        ("paid_at", admin.EmptyFieldListFilter),
        ("revoked_at", admin.EmptyFieldListFilter),
    ]
    ordering = ["-created_at", "-pk"]
    search_fields = ["account__email"]
    search_help_text = "Email, account or purchase id"
    actions = ["revoke"]
    fields = [
        "id",
        "owner",
        "app",
        "price",
        "state",
        "movement_id",
        "made",
        "expires_at",
        "paid",
        "revoked",
    ]

    def found(self, rows: QuerySet[ToolPurchase], term: str) -> QuerySet[ToolPurchase]:
        known = search.as_uuid(term)
        if known is None:
            return rows.filter(account__in=search.accounts_by_email(term))
        return rows.filter(Q(pk=known) | Q(account=known))

    def has_act_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("jobs.change_toolpurchase")

    @admin.action(
        description="Revoke: end its tokens, credits stay charged", permissions=["act"]
    )
    def revoke(self, request: HttpRequest, queryset: QuerySet[ToolPurchase]) -> None:
        for purchase in queryset:
            tool_purchases.revoke(purchase_id=purchase.pk, actor=str(user_of(request)))
        self.message_user(
            request,
            "Revoked. Their credits are given back by adjusting the wallet.",
            messages.SUCCESS,
        )

    @admin.display(description="opened (UTC)")
    def made(self, purchase: ToolPurchase) -> str:
        return shown.moment(purchase.created_at)

    @admin.display(description="account")
    def owner(self, purchase: ToolPurchase) -> Any:
        return whose(purchase)

    @admin.display(description="price")
    def price(self, purchase: ToolPurchase) -> Any:
        return shown.amount(purchase.price_micro)

    @display(
        description="state",
        label={"open": "warning", "paid": "success", "revoked": "danger"},
    )
    def state(self, purchase: ToolPurchase) -> str:
        if purchase.revoked_at:
            return "revoked"
        return "paid" if purchase.paid_at else "open"

    @admin.display(description="paid (UTC)")
    def paid(self, purchase: ToolPurchase) -> str:
        return shown.moment(purchase.paid_at)

    @admin.display(description="revoked (UTC)")
    def revoked(self, purchase: ToolPurchase) -> str:
        return shown.moment(purchase.revoked_at)
