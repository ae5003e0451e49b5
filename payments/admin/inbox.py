"""The staff page of Stripe's events, which staff may process again."""

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from accounts import audit
from accounts.authentication import user_of, visitor
from focus.admin_site import columns
from focus.admin_site.lists import ReadOnly
from payments import inbox
from payments.models import StripeEvent

COLOURS = {
    "pending": "warning",
    "done": "success",
    "ignored": "info",
    "failed": "danger",
}


@admin.register(StripeEvent)
class StripeEventAdmin(ReadOnly):
    """Stripe's events, with their bodies and outcomes."""

    list_display = ["stripe_id", "type", "object_id", "state_label", "outcome"]
    list_display += ["received_at"]
    list_filter = ["state", "type"]
    ordering = ["-received_at"]
    search_fields = ["stripe_id"]
    search_help_text = "Stripe id of the event or of its object"
    actions = ["handle_again"]
    fields = [
        "stripe_id",
        "type",
        "object_id",
        "livemode",
        "state",
        "outcome",
        "tries",
        "happened_at",
        "received_at",
        "due_at",
        "handled_at",
        "body",
    ]

    def found(self, rows: QuerySet[StripeEvent], term: str) -> QuerySet[StripeEvent]:
        return rows.filter(Q(stripe_id=term) | Q(object_id=term))

    state_label = columns.label("state", "state", COLOURS)

    @admin.action(description="Process again", permissions=["act"])
    def handle_again(
        self, request: HttpRequest, queryset: QuerySet[StripeEvent]
    ) -> None:
        for event in queryset:
            inbox.handle_again(event_id=event.pk)
            audit.record(
                "stripe_event_replayed",
                actor=str(user_of(request)),
                visitor=visitor(request),
                event=event.stripe_id,
            )
        self.message_user(
            request,
            "The worker processes the events again in a moment.",
            messages.SUCCESS,
        )
