"""Staff pages of automatic top-up: its rules, which staff may disable, and charges."""

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from accounts.authentication import user_of, visitor
from focus.admin_site import columns, search
from focus.admin_site.lists import ReadOnly
from payments.models import TopUpAttempt, TopUpRule
from payments.models.packs import dollars
from payments.topups import setup as topup_setup

COLOURS = {
    "paid": "success",
    "pending": "warning",
    "declined": "danger",
    "authentication": "info",
}


@admin.register(TopUpRule)
class TopUpRuleAdmin(ReadOnly):
    """Settings of automatic top-up, without the card."""

    list_display = [
        "account",
        "enabled",
        "off_because",
        "threshold",
        "pack",
        "ceiling_dollars",
        "declines",
        "not_before",
    ]
    list_select_related = ["account", "pack"]
    list_filter = ["enabled", "off_because"]
    ordering = ["-id"]
    search_fields = ["account__email"]
    search_help_text = "Email or account id"
    actions = ["switch_off"]
    # Staff do not need the card, so no field shows it.
    fields = [*list_display, "consented_at", "switched_on_at", "changed_at"]

    def found(self, rows: QuerySet[TopUpRule], term: str) -> QuerySet[TopUpRule]:
        return rows.filter(account__in=search.accounts(term))

    threshold = columns.amount("threshold_micro", "threshold")

    @admin.action(description="Switch off", permissions=["act"])
    def switch_off(self, request: HttpRequest, queryset: QuerySet[TopUpRule]) -> None:
        for rule in queryset.select_related("account"):
            topup_setup.switch_off(
                account=rule.account,
                why=topup_setup.Why.STAFF,
                actor=str(user_of(request)),
                visitor=visitor(request),
            )
        self.message_user(
            request,
            "Automatic top-up is off for the selected accounts.",
            messages.SUCCESS,
        )


@admin.register(TopUpAttempt)
class TopUpAttemptAdmin(ReadOnly):
    """Charges of automatic top-up."""

    list_display = ["id", "account", "pack", "price", "state", "reason", "created_at"]
    list_select_related = ["account", "pack"]
    list_filter = ["status"]
    ordering = ["-created_at"]
    search_fields = ["account__email"]
    search_help_text = "Email, attempt or account id, or Stripe payment intent id"
    fields = [*list_display, "stripe_payment_intent_id", "tries", "due_at", "ended_at"]

    def found(self, rows: QuerySet[TopUpAttempt], term: str) -> QuerySet[TopUpAttempt]:
        if term.startswith("pi_"):
            return rows.filter(stripe_payment_intent_id=term)
        known = search.as_uuid(term)
        own = [known] if known else []
        return rows.filter(Q(pk__in=own) | Q(account__in=search.accounts(term)))

    price = columns.text("price_cents", "price", dollars)

    state = columns.label("status", "status", COLOURS)
