"""Adjustments by staff: what was asked for, what was booked, and the second person."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from unfold.decorators import display

from accounts.authentication import user_of, visitor
from focus.admin_site import search, shown
from focus.errors import DomainError
from wallet import adjustments, approvals
from wallet.admin.frame import WalletPages
from wallet.admin.ledger import wallet_link
from wallet.models import Adjustment, Wallet

PENDING = Adjustment.State.PENDING


class ByState(admin.SimpleListFilter):
    """The state as time sees it: an undecided request lapses."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [*Adjustment.State.choices, ("lapsed", "Lapsed")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        state = self.value()
        lapsed = Q(state=PENDING, lapses_at__lte=timezone.now())
        if state == "lapsed":
            return queryset.filter(lapsed)
        if state not in Adjustment.State.values:
            return queryset
        return queryset.filter(state=state).exclude(lapsed)


@admin.register(Adjustment)
class AdjustmentAdmin(WalletPages):
    list_display = ["asked", "owner", "amount", "why", "requester", "shown_state"]
    list_select_related = ["account__wallet", "requested_by"]
    list_filter = [ByState, "reason"]
    ordering = ["-requested_at", "-pk"]
    search_fields = ["account__email"]
    search_help_text = "Email of the customer or of staff, or any id"

    def found(self, rows: QuerySet[Adjustment], term: str) -> QuerySet[Adjustment]:
        known = search.as_uuid(term)
        if known is not None:
            return rows.filter(Q(pk=known) | Q(movement_id=known) | Q(account=known))
        people = search.accounts_by_email(term)
        return rows.filter(Q(account__in=people) | Q(requested_by__in=people))

    @admin.display(description="asked (UTC)")
    def asked(self, row: Adjustment) -> str:
        return shown.moment(row.requested_at)

    @admin.display(description="wallet of")
    def owner(self, row: Adjustment) -> Any:
        return wallet_link(row.account.wallet)

    @admin.display(description="credits")
    def amount(self, row: Adjustment) -> Any:
        return shown.amount(row.amount_micro)

    @admin.display(description="reason")
    def why(self, row: Adjustment) -> str:
        return row.get_reason_display()

    @admin.display(description="asked for by")
    def requester(self, row: Adjustment) -> str:
        return str(row.requested_by or f"shell: {row.shell}")

    @display(
        description="state",
        label={
            "waits for approval": "warning",
            "booked": "success",
            "rejected": "danger",
            "lapsed": "info",
        },
    )
    def shown_state(self, row: Adjustment) -> str:
        return "lapsed" if row.lapsed else row.get_state_display().lower()

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The request, and for a second person the two ways to decide it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            return self._decided(request, object_id)
        row = get_object_or_404(
            Adjustment.objects.select_related("account", "requested_by", "decided_by"),
            pk=search.as_uuid(object_id),
        )
        staff = user_of(request)
        preview = adjustments.preview(
            account_id=row.account_id, amount_micro=row.amount_micro
        )
        waits = row.state == PENDING and not row.lapsed
        return self.answer(
            request,
            get_object_or_404(
                Wallet.objects.select_related("account"), account=row.account
            ),
            "adjustment",
            subtitle="Adjustment",
            row=row,
            state=self.shown_state(row),
            amount=shown.signed(row.amount_micro),
            requester=self.requester(row),
            requested_at=shown.moment(row.requested_at),
            lapses_at=shown.moment(row.lapses_at),
            decided_at=shown.moment(row.decided_at),
            waits=waits,
            may_approve=approvals.may_approve(row=row, staff=staff),
            may_withdraw=waits and row.requested_by_id == staff.pk,
            before=shown.credits_of(preview.before.credits_micro),
            after=shown.credits_of(preview.after_micro),
            missing=preview.missing_micro and shown.credits_of(preview.missing_micro),
        )

    def _decided(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = get_object_or_404(Adjustment, pk=search.as_uuid(object_id))
        who: dict[str, Any] = {"staff": user_of(request), "visitor": visitor(request)}
        try:
            if "approve" in request.POST:
                done = approvals.approve(adjustment_id=row.pk, **who)
                told = (
                    f"Approved and booked: {shown.signed(done.amount_micro)} credits."
                    f" The balance went from {shown.credits_of(done.before_micro)}"
                    f" to {shown.credits_of(done.after_micro)}."
                )
                self.message_user(request, told, messages.SUCCESS)
            elif "reject" in request.POST:
                approvals.reject(adjustment_id=row.pk, **who)
                self.message_user(request, "Nothing has moved.", messages.SUCCESS)
        except DomainError as refusal:
            told = f"{refusal.message} Nothing has moved."
            self.message_user(request, told, messages.ERROR)
        return redirect("admin:wallet_adjustment_change", row.pk)
