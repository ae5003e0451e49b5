"""Read-only staff pages of purchases, payments, reversals and subscriptions."""

from uuid import UUID

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from accounts import audit
from accounts.authentication import user_of, visitor
from focus.admin_site import columns, search
from focus.admin_site.lists import ReadOnly
from payments import drifts
from payments.models import Drift, Payment, Purchase, Reversal, Subscription
from payments.models.packs import dollars

COLOURS = {
    "paid": "success",
    "open": "warning",
    "processing": "info",
    "failed": "danger",
    "expired": "info",
}


def _id(term: str) -> list[UUID]:
    known = search.as_uuid(term)
    return [known] if known else []


@admin.register(Purchase)
class PurchaseAdmin(ReadOnly):
    """Purchases of packs."""

    list_display = ["id", "account", "pack", "credits", "price", "state", "created_at"]
    list_select_related = ["account", "pack"]
    list_filter = ["status"]
    ordering = ["-created_at"]
    search_fields = ["account__email"]
    search_help_text = "Email, purchase or account id, or Stripe session id"
    fields = [
        "id",
        "account",
        "pack",
        "credits",
        "price",
        "state",
        "stripe_session_id",
        "created_at",
        "paid_at",
    ]

    def found(self, rows: QuerySet[Purchase], term: str) -> QuerySet[Purchase]:
        if term.startswith("cs_"):
            return rows.filter(stripe_session_id=term)
        return rows.filter(Q(pk__in=_id(term)) | Q(account__in=search.accounts(term)))

    credits = columns.amount("credits_micro", "credits")
    price = columns.text("price_cents", "price", dollars)

    state = columns.label("status", "status", COLOURS)


@admin.register(Payment)
class PaymentAdmin(ReadOnly):
    """Payments that Stripe confirmed, with their credits."""

    list_display = ["id", "account", "source", "amount", "granted", "back", "paid_at"]
    list_select_related = ["account", "purchase__pack", "top_up__pack", "plan"]
    ordering = ["-paid_at"]
    search_fields = ["account__email"]
    search_help_text = "Email, payment or account id, or an id of Stripe"
    fields = [
        "id",
        "account",
        "source",
        "amount",
        "granted",
        "back",
        "stripe_session_id",
        "stripe_invoice_id",
        "stripe_payment_intent_id",
        "paid_at",
    ]

    def found(self, rows: QuerySet[Payment], term: str) -> QuerySet[Payment]:
        for prefix, column in (
            ("cs_", "stripe_session_id"),
            ("in_", "stripe_invoice_id"),
            ("pi_", "stripe_payment_intent_id"),
        ):
            if term.startswith(prefix):
                return rows.filter(**{column: term})
        return rows.filter(Q(pk__in=_id(term)) | Q(account__in=search.accounts(term)))

    @admin.display(description="for")
    def source(self, payment: Payment) -> str:
        if payment.purchase is not None:
            return f"pack {payment.purchase.pack}"
        if payment.top_up is not None:
            return f"pack {payment.top_up.pack} (automatic top-up)"
        return f"plan {payment.plan}"

    amount = columns.text("amount_cents", "paid", dollars)
    granted = columns.amount("granted_micro", "credits")
    back = columns.amount("taken_back_micro", "taken back")


@admin.register(Reversal)
class ReversalAdmin(ReadOnly):
    """Refunds and disputes."""

    list_display = ["stripe_id", "kind", "payment", "amount", "status", "counts"]
    list_select_related = ["payment"]
    list_filter = ["kind", "counts"]
    ordering = ["-id"]
    search_fields = ["stripe_id"]
    search_help_text = "Stripe id or payment id"
    fields = [
        "stripe_id",
        "kind",
        "payment",
        "amount",
        "status",
        "counts",
        "created_at",
        "changed_at",
    ]

    def found(self, rows: QuerySet[Reversal], term: str) -> QuerySet[Reversal]:
        payment = search.as_uuid(term)
        return rows.filter(payment=payment) if payment else rows.filter(stripe_id=term)

    amount = columns.text("amount_cents", "amount", dollars)


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnly):
    """Subscriptions as Stripe last reported them."""

    list_display = [
        "stripe_subscription_id",
        "account",
        "plan",
        "status",
        "current_period_end",
        "cancel_at_period_end",
    ]
    list_select_related = ["account", "plan"]
    list_filter = ["status", "plan"]
    ordering = ["-id"]
    search_fields = ["account__email"]
    search_help_text = "Email, account id or Stripe subscription id"
    fields = [*list_display, "read_at", "created_at"]

    def found(self, rows: QuerySet[Subscription], term: str) -> QuerySet[Subscription]:
        if term.startswith("sub_"):
            return rows.filter(stripe_subscription_id=term)
        return rows.filter(account__in=search.accounts(term))


@admin.register(Drift)
class DriftAdmin(ReadOnly):
    """Differences between Stripe and our books, which staff may mark as settled."""

    list_display = [
        "kind",
        "subject",
        "detail",
        "first_seen_at",
        "healed_at",
        "settled_by",
    ]
    list_filter = ["kind", ("healed_at", admin.EmptyFieldListFilter)]
    ordering = ["-id"]
    search_fields = ["subject"]
    search_help_text = "Stripe id"
    actions = ["settle"]
    fields = [*list_display, "last_seen_at"]

    @admin.action(description="Mark as settled", permissions=["act"])
    def settle(self, request: HttpRequest, queryset: QuerySet[Drift]) -> None:
        for drift in queryset:
            if drifts.settle(drift_id=drift.pk, by=str(user_of(request))):
                audit.record(
                    "stripe_difference_settled",
                    actor=str(user_of(request)),
                    visitor=visitor(request),
                    difference=str(drift),
                )
        self.message_user(
            request, "The differences are marked as settled.", messages.SUCCESS
        )

    def found(self, rows: QuerySet[Drift], term: str) -> QuerySet[Drift]:
        return rows.filter(subject=term)
