"""What Stripe told us, and what came of it."""

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from accounts import audit
from accounts.authentication import user_of, visitor
from focus.admin_site.lists import ReadOnly
from payments import inbox
from payments.models import StripeEvent


@admin.register(StripeEvent)
class StripeEventAdmin(ReadOnly):
    list_display = ["stripe_id", "type", "object_id", "shown", "outcome", "received_at"]
    list_filter = ["state", "type"]
    ordering = ["-received_at"]
    search_fields = ["stripe_id"]
    search_help_text = "Stripe's id of the event, or of what it is about"
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

    def has_act_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("payments.change_stripeevent")

    @display(
        description="state",
        label={
            "pending": "warning",
            "done": "success",
            "ignored": "info",
            "failed": "danger",
        },
    )
    def shown(self, event: StripeEvent) -> str:
        return str(event.state)

    @admin.action(description="Handle again", permissions=["act"])
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
            request, "They will be handled in a moment.", messages.SUCCESS
        )
