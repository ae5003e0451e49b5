"""Read-only staff pages of entries, grants, reservations and draws."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from focus.admin_site import columns, search, shown
from focus.admin_site.lists import ReadOnly
from jobs import purposes
from wallet.admin import words
from wallet.models import Draw, Entry, Grant, Reservation, Wallet

STATUS_COLOURS = {
    "open": "warning",
    "settled": "success",
    "released": "info",
    "expired": "danger",
}


def wallets_of(term: str) -> list[int]:
    """Return the ids of the wallets of the accounts that `term` means."""
    accounts = search.accounts(term)
    if not accounts:
        return []
    found = Wallet.objects.filter(account__in=accounts)
    return list(found.values_list("pk", flat=True))


def _hex(value: bytes | memoryview) -> str:
    return bytes(value).hex()


@admin.register(Entry)
class EntryAdmin(ReadOnly):
    """Ledger entries, with search by ids, keys and emails."""

    list_display = [
        "when",
        "owner",
        "what",
        "way",
        "amount",
        "available",
        "reserved",
        "app",
        "job",
        "by",
    ]
    list_select_related = ["wallet__account", "app"]
    list_filter = ["kind", "app"]
    date_hierarchy = "booked_at"
    lookups = ("job_id", "movement_id", "wallet__id__exact")
    ordering = ["-booked_at"]
    sortable_by = ("when",)
    search_fields = ["wallet__account__email"]
    search_help_text = "Email, any id or idempotency key"
    fields = [
        "owner",
        "seq",
        "when",
        "what",
        "way",
        "amount",
        "available",
        "reserved",
        "debt",
        "uncovered",
        "why",
        "terms",
        "actor",
        "app",
        "job",
        "grant",
        "reservation",
        "ends",
        "movement",
        "key",
        "hash_version",
        "own_hash",
        "previous_hash",
    ]

    def found(self, rows: QuerySet[Entry], term: str) -> QuerySet[Entry]:
        any_id = search.as_uuid(term)
        if any_id is not None:
            if wallets := wallets_of(term):
                return rows.filter(wallet__in=wallets)
            if Entry.objects.filter(job_id=any_id).exists():
                return rows.filter(job_id=any_id)
            return rows.filter(movement_id=any_id)
        if Entry.objects.filter(key=term).exists():
            return rows.filter(key=term)
        return rows.filter(wallet__in=wallets_of(term))

    when = columns.time("booked_at", "booked", sort_by="booked_at")
    owner = columns.account("wallet of", "wallet.account")

    @display(description="kind", label=words.COLOURS)
    def what(self, entry: Entry) -> str:
        return words.kind(entry)

    @admin.display(description="from → to")
    def way(self, entry: Entry) -> Any:
        return words.way(entry)

    amount = columns.amount("amount_micro", "credits")
    available = columns.amount("available_after", "available")
    reserved = columns.amount("reserved_after", "reserved")
    debt = columns.amount("debt_after", "debt")
    uncovered = columns.amount("uncovered_micro", "uncovered cost")
    job = columns.job("job_id", "job")

    @admin.display(description="by")
    def by(self, entry: Entry) -> Any:
        label = words.brief(entry.actor, owner=entry.wallet.account_id)
        return format_html('<span title="{}">{}</span>', entry.actor, label)

    @admin.display(description="reason")
    def why(self, entry: Entry) -> str:
        return purposes.reasons([entry])[entry.pk]

    @admin.display(description="ends the reservation")
    def ends(self, entry: Entry) -> str:
        return "yes" if entry.resolves else "no"

    @admin.display(description="movement")
    def movement(self, entry: Entry) -> Any:
        here = reverse("admin:wallet_entry_changelist")
        return format_html(
            '<a class="to" href="{}?wallet__id__exact={}&amp;movement_id={}">{}</a>',
            here,
            entry.wallet_id,
            entry.movement_id,
            entry.movement_id,
        )

    own_hash = columns.code("hash", "hash", _hex)
    previous_hash = columns.code("prev_hash", "previous hash", _hex)


@admin.register(Grant)
class GrantAdmin(ReadOnly):
    """Grants of credits."""

    list_display = [
        "id",
        "owner",
        "what",
        "category",
        "granted",
        "left",
        "priority",
        "expires",
        "created",
    ]
    list_select_related = ["wallet__account", "app", "given_by"]
    list_filter = ["source", "category", "app"]
    lookups = ("wallet__id__exact",)
    ordering = ["-id"]
    sortable_by = ("id",)
    search_fields = ["wallet__account__email"]
    search_help_text = "Email, account id or number"
    fields = [
        "owner",
        "what",
        "source",
        "category",
        "granted",
        "left",
        "priority",
        "app",
        "given_by",
        "expires",
        "created",
    ]

    def found(self, rows: QuerySet[Grant], term: str) -> QuerySet[Grant]:
        if term.isascii() and term.isdigit() and len(term) < 19:
            return rows.filter(pk=int(term))
        return rows.filter(wallet__in=wallets_of(term))

    owner = columns.account("wallet of", "wallet.account")

    @admin.display(description="grant")
    def what(self, grant: Grant) -> str:
        return words.grant(grant)

    granted = columns.amount("granted_micro", "credits")
    left = columns.amount("remaining_micro", "left")

    @admin.display(description="expires (UTC)")
    def expires(self, grant: Grant) -> str:
        return shown.moment(grant.expires_at) if grant.expires_at else "never"

    created = columns.time("created_at", "given")


class OpenUnlessAsked(admin.SimpleListFilter):
    """Filter by status. Without a choice and a search, show open reservations only:
    they are few, and an index has them.
    """

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [*Reservation.Status.choices, ("all", "All")]

    def choices(self, changelist: Any) -> Any:
        chosen = self.value() or ("all" if changelist.query else "open")
        for value, title in self.lookup_choices:
            yield {
                "selected": value == chosen,
                "query_string": changelist.get_query_string({"status": value}),
                "display": title,
            }

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        status = self.value() or ("all" if request.GET.get(SEARCH_VAR) else "open")
        return queryset if status == "all" else queryset.filter(status=status)


@admin.register(Reservation)
class ReservationAdmin(ReadOnly):
    """Reservations, by default the open ones."""

    list_display = ["job", "owner", "app", "amount", "state", "expires", "resolved"]
    list_select_related = ["wallet__account", "app"]
    list_filter = [OpenUnlessAsked, "app"]
    list_display_links = ["amount"]
    ordering = ["expires_at"]
    search_fields = ["wallet__account__email"]
    search_help_text = "Email, account or job id"
    fields = [
        "owner",
        "app",
        "job",
        "amount",
        "state",
        "created",
        "expires",
        "resolved",
    ]

    def found(self, rows: QuerySet[Reservation], term: str) -> QuerySet[Reservation]:
        any_id = search.as_uuid(term)
        if any_id is not None and Reservation.objects.filter(pk=any_id).exists():
            return rows.filter(pk=any_id)
        # Settled reservations have no index by wallet; their entries do.
        entries = Entry.objects.filter(wallet__in=wallets_of(term), kind="reserve")
        return rows.filter(pk__in=entries.values("reservation"))

    owner = columns.account("wallet of", "wallet.account")
    job = columns.job("pk", "for job")
    amount = columns.amount("amount_micro", "credits")

    state = columns.label("status", "status", STATUS_COLOURS)

    created = columns.time("created_at", "reserved")
    expires = columns.time("expires_at", "until")
    resolved = columns.time("resolved_at", "resolved")


@admin.register(Draw)
class DrawAdmin(ReadOnly):
    """Draws: the credits that a movement took from a grant."""

    list_display = ["id", "owner", "what", "amount", "returned", "job", "movement_id"]
    list_select_related = ["grant__wallet__account", "grant__app", "grant__given_by"]
    ordering = ["-id"]
    sortable_by = ("id",)
    search_fields = ["grant__wallet__account__email"]
    search_help_text = "Email, or any id"
    fields = ["owner", "grant", "amount", "returned", "job", "movement_id"]

    def found(self, rows: QuerySet[Draw], term: str) -> QuerySet[Draw]:
        any_id = search.as_uuid(term)
        if wallets := wallets_of(term):
            return rows.filter(grant__wallet__in=wallets)
        if any_id is None:
            return rows.none()
        if Reservation.objects.filter(pk=any_id).exists():
            return rows.filter(reservation=any_id)
        return rows.filter(movement_id=any_id)

    owner = columns.account("wallet of", "grant.wallet.account")

    @admin.display(description="from grant")
    def what(self, draw: Draw) -> str:
        return f"{draw.grant_id}: {words.grant(draw.grant)}"

    amount = columns.amount("amount_micro", "taken")
    returned = columns.amount("returned_micro", "returned")
    job = columns.job("reservation_id", "job")
