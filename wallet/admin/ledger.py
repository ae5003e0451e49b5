"""The ledger's rows: entries, grants, reservations, draws. To be looked at."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from focus.admin_site import search, shown
from focus.admin_site.lists import ReadOnly
from jobs import purposes
from wallet.admin import words
from wallet.models import Draw, Entry, Grant, Reservation, Wallet


def wallet_link(wallet: Wallet) -> Any:
    return format_html(
        '<a class="to" href="{}">{}</a>',
        reverse("admin:wallet_wallet_change", args=[wallet.pk]),
        wallet.account,
    )


def job_link(job_id: Any) -> Any:
    if job_id is None:
        return "–"
    return format_html(
        '<a class="to id" href="{}" title="{}">{}</a>',
        reverse("admin:jobs_job_change", args=[job_id]),
        job_id,
        f"{job_id!s:.8}…",
    )


def wallets_of(term: str) -> list[int]:
    """The wallets of the account with this id, or of the emails that begin so."""
    account = search.as_uuid(term)
    accounts = [account] if account else search.accounts_by_email(term)
    found = Wallet.objects.filter(account__in=accounts) if accounts else None
    return list(found.values_list("pk", flat=True)) if found is not None else []


@admin.register(Entry)
class EntryAdmin(ReadOnly):
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
    search_help_text = "Email, any id or money key"
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

    @admin.display(description="booked (UTC)", ordering="booked_at")
    def when(self, entry: Entry) -> str:
        return shown.moment(entry.booked_at)

    @admin.display(description="wallet of")
    def owner(self, entry: Entry) -> Any:
        return wallet_link(entry.wallet)

    @display(description="kind", label=words.COLOURS)
    def what(self, entry: Entry) -> str:
        return words.kind(entry)

    @admin.display(description="from → to")
    def way(self, entry: Entry) -> Any:
        return words.way(entry)

    @admin.display(description="credits")
    def amount(self, entry: Entry) -> Any:
        return shown.amount(entry.amount_micro)

    @admin.display(description="available")
    def available(self, entry: Entry) -> Any:
        return shown.amount(entry.available_after)

    @admin.display(description="reserved")
    def reserved(self, entry: Entry) -> Any:
        return shown.amount(entry.reserved_after)

    @admin.display(description="debt")
    def debt(self, entry: Entry) -> Any:
        return shown.amount(entry.debt_after)

    @admin.display(description="cost that nobody paid")
    def uncovered(self, entry: Entry) -> Any:
        return shown.amount(entry.uncovered_micro)

    @admin.display(description="job")
    def job(self, entry: Entry) -> Any:
        return job_link(entry.job_id)

    @admin.display(description="by")
    def by(self, entry: Entry) -> Any:
        told = words.brief(entry.actor, owner=entry.wallet.account_id)
        return format_html('<span title="{}">{}</span>', entry.actor, told)

    @admin.display(description="reason")
    def why(self, entry: Entry) -> str:
        return purposes.reasons([entry])[entry.pk]

    @admin.display(description="ends its reservation")
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

    @admin.display(description="hash")
    def own_hash(self, entry: Entry) -> Any:
        return _hex(entry.hash)

    @admin.display(description="hash of the entry before")
    def previous_hash(self, entry: Entry) -> Any:
        return _hex(entry.prev_hash)


@admin.register(Grant)
class GrantAdmin(ReadOnly):
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

    @admin.display(description="wallet of")
    def owner(self, grant: Grant) -> Any:
        return wallet_link(grant.wallet)

    @admin.display(description="grant")
    def what(self, grant: Grant) -> str:
        return words.grant(grant)

    @admin.display(description="credits")
    def granted(self, grant: Grant) -> Any:
        return shown.amount(grant.granted_micro)

    @admin.display(description="left")
    def left(self, grant: Grant) -> Any:
        return shown.amount(grant.remaining_micro)

    @admin.display(description="expires (UTC)")
    def expires(self, grant: Grant) -> str:
        return shown.moment(grant.expires_at) if grant.expires_at else "never"

    @admin.display(description="given (UTC)")
    def created(self, grant: Grant) -> str:
        return shown.moment(grant.created_at)


class OpenUnlessAsked(admin.SimpleListFilter):
    """The open ones, few and indexed, unless somebody searches or asks for others."""

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

    @admin.display(description="wallet of")
    def owner(self, reservation: Reservation) -> Any:
        return wallet_link(reservation.wallet)

    @admin.display(description="for job")
    def job(self, reservation: Reservation) -> Any:
        return job_link(reservation.pk)

    @admin.display(description="credits")
    def amount(self, reservation: Reservation) -> Any:
        return shown.amount(reservation.amount_micro)

    @display(
        description="status",
        label={
            "open": "warning",
            "settled": "success",
            "released": "info",
            "expired": "danger",
        },
    )
    def state(self, reservation: Reservation) -> str:
        return reservation.status

    @admin.display(description="reserved (UTC)")
    def created(self, reservation: Reservation) -> str:
        return shown.moment(reservation.created_at)

    @admin.display(description="until (UTC)")
    def expires(self, reservation: Reservation) -> str:
        return shown.moment(reservation.expires_at)

    @admin.display(description="resolved (UTC)")
    def resolved(self, reservation: Reservation) -> str:
        return shown.moment(reservation.resolved_at)


@admin.register(Draw)
class DrawAdmin(ReadOnly):
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

    @admin.display(description="wallet of")
    def owner(self, draw: Draw) -> Any:
        return wallet_link(draw.grant.wallet)

    @admin.display(description="from grant")
    def what(self, draw: Draw) -> str:
        return f"{draw.grant_id}: {words.grant(draw.grant)}"

    @admin.display(description="taken")
    def amount(self, draw: Draw) -> Any:
        return shown.amount(draw.amount_micro)

    @admin.display(description="given back")
    def returned(self, draw: Draw) -> Any:
        return shown.amount(draw.returned_micro)

    @admin.display(description="job")
    def job(self, draw: Draw) -> Any:
        return job_link(draw.reservation_id)


def _hex(value: bytes | memoryview) -> Any:
    return format_html('<code class="hash">{}</code>', bytes(value).hex())
