"""Staff pages of webhooks: endpoints without secrets, events, and every attempt."""

import uuid
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.text import Truncator
from unfold.admin import TabularInline
from unfold.decorators import display

from accounts import audit
from accounts.authentication import user_of, visitor
from focus.admin_site import columns, search, shown
from focus.admin_site.lists import Acting, ReadOnly
from jobs.models import Attempt, Delivery, Endpoint, Event
from jobs.webhooks import endpoints, outbox, redelivery, signatures

SNIPPET = 1000
STATES = {
    "pending": "warning",
    "succeeded": "success",
    "failed": "danger",
    "canceled": "info",
}


def event_id(term: str) -> uuid.UUID | None:
    """Return the id in `term`, which may be a `webhook-id` with its prefix, or None."""
    return search.as_uuid(term.removeprefix("evt_"))


@admin.register(Endpoint)
class EndpointAdmin(Acting):
    """Endpoints without their secrets; staff may enable, pause and replay."""

    list_display = ["address", "account", "state", "failing", "given_up", "made"]
    list_select_related = ["account"]
    list_filter = ["disabled_because", ("deleted_at", admin.EmptyFieldListFilter)]
    ordering = ["-created_at", "-id"]
    search_fields = ["url"]
    search_help_text = "Part of the address, an id, or the owner's email"
    actions = ["enable", "disable", "replay"]
    # Never the secrets.
    fields = [
        "id",
        "url",
        "account",
        "state",
        "events",
        "deliveries",
        "disabled_at",
        "disabled_because",
        "deleted_at",
        "promotes_at",
        "paused_until",
        "troubled",
        "failing",
        "given_up",
        "made",
    ]

    def found(self, rows: QuerySet[Endpoint], term: str) -> QuerySet[Endpoint]:
        if known := search.as_uuid(term):
            return rows.filter(Q(pk=known) | Q(account=known))
        if "@" in term:
            return rows.filter(account__in=search.accounts_by_email(term))
        return rows.filter(url__icontains=term)

    @admin.display(description="address")
    def address(self, endpoint: Endpoint) -> str:
        return Truncator(endpoint.url).chars(64)

    @display(
        description="state",
        label={
            "on": "success",
            "failing": "warning",
            "paused": "danger",
            "deleted": "info",
        },
    )
    def state(self, endpoint: Endpoint) -> str:
        if endpoint.deleted_at:
            return "deleted"
        if endpoint.disabled_at:
            return "paused"
        return "failing" if endpoint.failing_since else "on"

    @admin.display(description="deliveries")
    def deliveries(self, endpoint: Endpoint) -> Any:
        route = "jobs_delivery_changelist"
        return columns.search_link(route, "Deliveries to this endpoint", q=endpoint.pk)

    failing = columns.time("failing_since", "failing since")
    made = columns.time("created_at", "added")

    @admin.action(description="Enable", permissions=["act"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Endpoint]) -> None:
        def act(row: Endpoint) -> str:
            endpoints.enable(
                user=row.account,
                endpoint_id=row.pk,
                actor=str(user_of(request)),
                visitor=visitor(request),
            )
            return f"{row} is enabled."

        self.each(request, queryset, act)

    @admin.action(description="Pause", permissions=["act"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Endpoint]) -> None:
        def act(row: Endpoint) -> str:
            endpoints.disable(
                user=row.account,
                endpoint_id=row.pk,
                actor=str(user_of(request)),
                visitor=visitor(request),
            )
            return f"{row} is paused."

        self.each(request, queryset, act)

    @admin.action(description="Replay failed deliveries", permissions=["act"])
    def replay(self, request: HttpRequest, queryset: QuerySet[Endpoint]) -> None:
        def act(row: Endpoint) -> str:
            count = redelivery.recover(user=row.account, endpoint_id=row.pk)
            audit.record(
                "webhooks_replayed",
                user=row.account,
                actor=str(user_of(request)),
                visitor=visitor(request),
                endpoint_id=str(row.pk),
                count=count,
            )
            return f"{row}: {count:,} deliveries queued again."

        self.each(request, queryset, act)


class OfType(admin.SimpleListFilter):
    """Filter events by type, without a query for the types."""

    title = "type"
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in outbox.TYPES]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(type=self.value()) if self.value() else queryset


@admin.register(Event)
class EventAdmin(ReadOnly):
    """Events with the exact bytes of their bodies."""

    list_display = ["message", "type", "account", "app", "about", "happened"]
    list_select_related = ["account", "app"]
    list_filter = [OfType]
    # Event ids increase with time.
    ordering = ["-id"]
    search_fields = ["id"]
    search_help_text = "The id of an event (evt_…), job or movement, or an email"
    fields = [
        "message",
        "type",
        "account",
        "app",
        "about",
        "request_id",
        "happened",
        "deliveries",
        "sent",
    ]

    def found(self, rows: QuerySet[Event], term: str) -> QuerySet[Event]:
        if known := event_id(term):
            return rows.filter(Q(pk=known) | Q(about=known) | Q(account=known))
        return rows.filter(account__in=search.accounts_by_email(term))

    @admin.display(description="webhook-id")
    def message(self, event: Event) -> str:
        return signatures.message_id(event.pk)

    happened = columns.time("created_at", "at")

    @admin.display(description="deliveries")
    def deliveries(self, event: Event) -> Any:
        route = "jobs_delivery_changelist"
        return columns.search_link(route, "Deliveries of this event", q=event.pk)

    sent = columns.code("body", "body (exact bytes)", lambda body: bytes(body).decode())


class AttemptInline(TabularInline):
    """The attempts of a delivery, newest first."""

    model = Attempt
    verbose_name_plural = "attempts"
    extra = 0
    can_delete = False
    ordering = ["-n"]
    per_page = 20
    fields = ["n", "trigger", "state", "started", "duration_ms", "status", "error"]
    fields += ["ip", "said"]
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    started = columns.time("started_at", "started")

    @admin.display(description="response")
    def said(self, attempt: Attempt) -> str:
        text = bytes(attempt.answer[:SNIPPET]).decode(errors="replace")
        return text.replace("\0", "�") or "–"


@admin.register(Delivery)
class DeliveryAdmin(Acting):
    """Deliveries with their attempts; staff may resend."""

    list_display = ["event_type", "where", "state_label", "trigger", "attempts", "last"]
    list_display += ["made", "due", "ended"]
    list_select_related = ["event", "endpoint"]
    list_filter = ["state", "trigger"]
    # Event ids increase with time.
    ordering = ["-event_id", "-endpoint_id"]
    search_fields = ["id"]
    search_help_text = (
        "Part of the address, or the id of an event (evt_…), job or endpoint"
    )
    actions = ["resend"]
    inlines = [AttemptInline]
    fields = [
        "id",
        "event_link",
        "where",
        "state_label",
        "trigger",
        "attempts",
        "tries",
        "interruptions",
        "last",
        "made",
        "due",
        "ended",
    ]

    def found(self, rows: QuerySet[Delivery], term: str) -> QuerySet[Delivery]:
        known = event_id(term)
        if known is None:
            of = Endpoint.objects.filter(url__icontains=term).values_list("pk")[:200]
            return rows.filter(endpoint__in=[pk for (pk,) in of])
        told = Event.objects.filter(Q(pk=known) | Q(about=known))
        events = list(told.values_list("pk", flat=True)[:200])
        meant = Q(pk=known) | Q(event__in=events) | Q(endpoint=known)
        return rows.filter(meant)

    event_type = columns.text("event.type", "event")

    @admin.display(description="event")
    def event_link(self, delivery: Delivery) -> Any:
        return columns.link_to("jobs_event_change", delivery.event_id, delivery.event)

    @admin.display(description="endpoint")
    def where(self, delivery: Delivery) -> Any:
        url = Truncator(delivery.endpoint.url).chars(48)
        return columns.link_to("jobs_endpoint_change", delivery.endpoint_id, url)

    state_label = columns.label("state", "state", STATES)

    @admin.display(description="last response")
    def last(self, delivery: Delivery) -> str:
        said = [delivery.last_status, delivery.last_error]
        return " ".join(str(word) for word in said if word) or "–"

    made = columns.time("created_at", "created")

    @admin.display(description="due (UTC)")
    def due(self, delivery: Delivery) -> str:
        waits = delivery.state == Delivery.State.PENDING
        return shown.moment(delivery.due_at if waits else None)

    ended = columns.time("ended_at", "ended")

    @admin.action(description="Resend", permissions=["act"])
    def resend(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        def act(row: Delivery) -> str:
            owner = row.endpoint.account
            redelivery.resend(user=owner, delivery_id=row.pk)
            audit.record(
                "webhook_resent",
                user=owner,
                actor=str(user_of(request)),
                visitor=visitor(request),
                delivery_id=str(row.pk),
            )
            return f"{row} is queued again."

        self.each(request, queryset.select_related("endpoint__account"), act)
