"""Staff pages of wallets: the list, the page of one wallet, and its actions."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from accounts.authentication import user_of
from accounts.models import SecurityEvent, User
from focus.admin_site import columns, search, shown
from wallet import explain, verifications
from wallet.admin import export, page
from wallet.admin.adjusting import AdjustingPages
from wallet.admin.frame import with_now
from wallet.models import Wallet

STAFF_EVENTS = [
    "adjustment_rejected",
    "adjustment_requested",
    "adjustment_withdrawn",
    "credits_adjusted",
    "overdraft_limit_set",
    "statement_exported",
    "wallet_opened",
    "wallet_verified",
]


class Holds(admin.SimpleListFilter):
    """Filter to wallets with credits, reservations or debt."""

    title = "holds"
    parameter_name = "holds"
    columns = {"available": "Credits", "reserved": "Reservations", "debt": "Debt"}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(self.columns.items())

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        value = self.value()
        if value not in self.columns:
            return queryset
        return queryset.filter(**{f"{value}_micro__gt": 0})


@admin.register(Wallet)
class WalletAdmin(AdjustingPages):
    """Wallets, with the pages of one wallet."""

    list_display = ["owner", "available", "reserved", "debt", "entries", "moved"]
    list_select_related = ["account"]
    list_filter = [Holds]
    ordering = ["-id"]
    search_fields = ["account__email"]
    search_help_text = "Email, account id or number"

    def found(self, rows: QuerySet[Wallet], term: str) -> QuerySet[Wallet]:
        if (number := page.number(term)) is not None:
            return rows.filter(pk=number)
        return rows.filter(account__in=search.accounts(term))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """List wallets. For an account without a wallet, offer to open one."""
        term = request.GET.get("q", "").strip()
        accounts = search.accounts(term) if self.has_view_permission(request) else []
        if len(accounts) == 1:
            owner = User.objects.filter(pk=accounts[0], wallet=None).first()
            if owner is not None:
                self.message_user(
                    request,
                    format_html(
                        '{} has no wallet yet: <a class="to" href="{}">open it</a>.',
                        owner,
                        reverse("admin:wallet_wallet_of", args=[owner.pk]),
                    ),
                    messages.INFO,
                )
        listed: HttpResponse = super().changelist_view(request, extra_context)
        return listed

    owner = columns.text("account", "wallet of")

    available = columns.amount("available_micro", "available (booked)")
    reserved = columns.amount("reserved_micro", "reserved")

    @admin.display(description="debt")
    def debt(self, wallet: Wallet) -> Any:
        return shown.amount(-wallet.debt_micro)

    @admin.display(description="entries")
    def entries(self, wallet: Wallet) -> Any:
        return format_html('<span class="credits">{}</span>', f"{wallet.seq:,}")

    @admin.display(description="last movement (UTC)")
    def moved(self, wallet: Wallet) -> str:
        return shown.moment(wallet.booked_at) if wallet.seq else "–"

    def get_urls(self) -> list[URLPattern]:
        pages = {
            "<int:wallet_id>/adjust/": ("adjust", self.adjust_view),
            "<int:wallet_id>/overdraft/": ("overdraft", self.overdraft_view),
            "<int:wallet_id>/explain/": ("explain", self.explain_view),
            "<int:wallet_id>/verify/": ("verify", self.verify_view),
            "<int:wallet_id>/statement.csv": ("csv", self.csv_view),
            "of/<uuid:account_id>/": ("of", self.of_view),
        }
        own = [
            path(route, self.admin_site.admin_view(view), name=f"wallet_wallet_{name}")
            for route, (name, view) in pages.items()
        ]
        return [*own, *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if not self.has_view_permission(request) or request.method == "POST":
            raise PermissionDenied
        wallet = with_now().filter(pk=page.number(object_id) or 0).first()
        if wallet is None:
            self.message_user(request, "Wallet not found.", messages.WARNING)
            return redirect("admin:wallet_wallet_changelist")
        facts = page.facts(request, wallet, now=wallet.now)  # type: ignore[attr-defined]
        return self.answer(request, wallet, "wallet", **facts)

    def explain_view(self, request: HttpRequest, wallet_id: int) -> HttpResponse:
        """Show the sentences that add up to the balance."""
        wallet = self.wallet_or_refuse(request, wallet_id)
        explained = explain.explain(account_id=wallet.account_id)
        lines = [(shown.signed(line.amount_micro), line) for line in explained.lines]
        return self.answer(
            request,
            wallet,
            "explain",
            explained=explained,
            lines=lines,
            total=shown.credits_of(explained.sum_micro),
        )

    def verify_view(self, request: HttpRequest, wallet_id: int) -> HttpResponse:
        """Queue a verification of this wallet (POST), or show the latest."""
        wallet = self.wallet_or_refuse(request, wallet_id)
        if request.method == "POST":
            asked = verifications.request(wallet=wallet, actor=str(user_of(request)))
            self.note(request, "wallet_verified", wallet, verification=asked.pk)
            return redirect("admin:wallet_wallet_verify", wallet.pk)
        latest = verifications.latest(wallet=wallet)
        if latest is None:
            return redirect("admin:wallet_wallet_change", wallet.pk)
        answer = self.answer(request, wallet, "verify", verification=latest)
        if latest.finished_at is None:
            # The browser reloads the page without a script.
            answer["Refresh"] = "2"
        return answer

    def csv_view(self, request: HttpRequest, wallet_id: int) -> StreamingHttpResponse:
        """Download the statement as CSV and record that in the audit."""
        wallet = self.wallet_or_refuse(request, wallet_id)
        self.note(request, "statement_exported", wallet, entries=wallet.seq)
        name = f"statement-{wallet.pk}-{wallet.seq}.csv"
        return StreamingHttpResponse(
            export.lines_of(wallet),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    def history_view(
        self,
        request: HttpRequest,
        object_id: str,
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the last 200 actions of staff on this wallet, from the audit."""
        wallet = self.wallet_or_refuse(request, page.number(object_id))
        events = SecurityEvent.objects.filter(
            user=wallet.account_id, kind__in=STAFF_EVENTS
        ).order_by("-at", "-pk")[:200]
        rows = [
            {
                "at": shown.moment(event.at),
                "action": event.kind.replace("_", " ").capitalize(),
                "staff": event.actor,
                "facts": event.facts,
            }
            for event in events
        ]
        return self.answer(request, wallet, "staff", events=rows)
