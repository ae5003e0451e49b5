"""The staff page of adjustments, where a second person approves or rejects one."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from unfold.decorators import display

from accounts.authentication import user_of, visitor
from focus.admin_site import columns, search, shown
from focus.errors import DomainError
from wallet import adjustments, approvals
from wallet.admin.frame import WalletPages
from wallet.models import Adjustment, Wallet

PENDING = Adjustment.State.PENDING


class ByState(admin.SimpleListFilter):
    """Filter by state; a pending request past its time is expired."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [*Adjustment.State.choices, ("expired", "Expired")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        state = self.value()
        lapsed = Q(state=PENDING, lapses_at__lte=timezone.now())
        if state == "expired":
            return queryset.filter(lapsed)
        if state not in Adjustment.State.values:
            return queryset
        return queryset.filter(state=state).exclude(lapsed)


@admin.register(Adjustment)
class AdjustmentAdmin(WalletPages):
    """Adjustments of all wallets, with approval by a second person."""

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

    asked = columns.time("requested_at", "requested")
    owner = columns.account("wallet of", "account")
    amount = columns.amount("amount_micro", "credits")

    @admin.display(description="reason")
    def why(self, row: Adjustment) -> str:
        return row.get_reason_display()

    @admin.display(description="requested by")
    def requester(self, row: Adjustment) -> str:
        return str(row.requested_by or f"shell: {row.shell}")

    @display(
        description="state",
        label={
            "waits for approval": "warning",
            "booked": "success",
            "rejected": "danger",
            "expired": "info",
        },
    )
    def shown_state(self, row: Adjustment) -> str:
        return "expired" if row.lapsed else row.get_state_display().lower()

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the request, and let a second person approve or reject it."""
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
                text = (
                    f"Approved and booked: {shown.signed(done.amount_micro)} credits."
                    f" The balance went from {shown.credits_of(done.before_micro)}"
                    f" to {shown.credits_of(done.after_micro)}."
                )
                self.message_user(request, text, messages.SUCCESS)
            elif "reject" in request.POST:
                approvals.reject(adjustment_id=row.pk, **who)
                self.message_user(
                    request,
                    "The request is closed. Nothing was booked.",
                    messages.SUCCESS,
                )
        except DomainError as refusal:
            text = f"{refusal.message} Nothing changed."
            self.message_user(request, text, messages.ERROR)
        return redirect("admin:wallet_adjustment_change", row.pk)
