"""Staff pages of immediate charges by tools, and of tool purchases."""

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from accounts.authentication import user_of
from focus.admin_site import columns, search
from focus.admin_site.lists import ReadOnly
from jobs import tool_purchases
from jobs.models import ToolPurchase, Usage


@admin.register(Usage)
class UsageAdmin(ReadOnly):
    """Immediate charges by tools."""

    list_display = ["made", "owner", "app", "amount", "reason", "key"]
    list_select_related = ["account", "app"]
    list_filter = ["app"]
    ordering = ["-id"]
    search_fields = ["key"]
    search_help_text = "The idempotency key that the tool sent"
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

    made = columns.time("created_at", "at")
    owner = columns.account("account")
    amount = columns.amount("amount_micro", "charged")
    after = columns.amount("balance_after_micro", "credits left for the tool")


@admin.register(ToolPurchase)
class ToolPurchaseAdmin(ReadOnly):
    """Tool purchases, which staff may revoke."""

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

    @admin.action(
        description="Revoke access (credits stay charged)", permissions=["act"]
    )
    def revoke(self, request: HttpRequest, queryset: QuerySet[ToolPurchase]) -> None:
        for purchase in queryset:
            tool_purchases.revoke(purchase_id=purchase.pk, actor=str(user_of(request)))
        self.message_user(
            request,
            "Access is revoked. To return the credits, adjust the wallet.",
            messages.SUCCESS,
        )

    made = columns.time("created_at", "opened")
    owner = columns.account("account")
    price = columns.amount("price_micro", "price")

    @display(
        description="state",
        label={"open": "warning", "paid": "success", "revoked": "danger"},
    )
    def state(self, purchase: ToolPurchase) -> str:
        if purchase.revoked_at:
            return "revoked"
        return "paid" if purchase.paid_at else "open"

    paid = columns.time("paid_at", "paid")
    revoked = columns.time("revoked_at", "revoked")
