"""The pages on which staff adjust credits, set an overdraft limit or open a wallet."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse

from accounts.authentication import user_of, visitor
from accounts.models import User
from focus.admin_site import shown
from focus.errors import DomainError
from wallet import adjustments, allowances, approvals, ledger
from wallet.adjustments import Adjusted, NeedsApproval, NotAllowed, Preview, Reason
from wallet.admin import words
from wallet.admin.forms import AdjustForm, OverdraftForm
from wallet.admin.frame import WalletPages
from wallet.models import Wallet


class AdjustingPages(WalletPages):
    """Each page calls a rule of `wallet.adjustments` or `wallet.approvals`."""

    def adjust_view(self, request: HttpRequest, wallet_id: int) -> HttpResponse:
        """Show a form, then a preview; a repeated confirmation books once."""
        wallet = self.wallet_or_refuse(request, wallet_id)
        try:
            allowed = allowances.allowance(staff=user_of(request), owner=wallet.account)
        except NotAllowed as refusal:
            raise PermissionDenied(refusal.message) from refusal
        if request.method != "POST":
            return self._form(request, wallet, AdjustForm(allowed=allowed))
        form = AdjustForm(request.POST, allowed=allowed)
        if not form.is_valid() or "edit" in request.POST:
            return self._form(request, wallet, form)
        if "confirm" not in request.POST:
            return self._preview(request, wallet, form)
        return self._confirmed(request, wallet, form)

    def _form(
        self, request: HttpRequest, wallet: Wallet, form: AdjustForm
    ) -> HttpResponse:
        balance = ledger.balance(account_id=wallet.account_id)
        return self.answer(
            request,
            wallet,
            "adjust",
            form=form,
            balance=shown.credits_of(balance.credits_micro),
            subtitle="Adjust credits",
        )

    def _preview(
        self, request: HttpRequest, wallet: Wallet, form: AdjustForm, status: int = 200
    ) -> HttpResponse:
        fields = form.cleaned_data
        preview = adjustments.preview(
            account_id=wallet.account_id, amount_micro=fields["amount"]
        )
        return self.answer(
            request,
            wallet,
            "adjust_preview",
            status=status,
            subtitle="Adjust credits",
            form=form,
            gives=fields["amount"] > 0,
            amount=shown.signed(fields["amount"]),
            before=shown.credits_of(preview.before.credits_micro),
            after=shown.credits_of(preview.after_micro),
            seen=preview.before.credits_micro,
            reserved=shown.credits_of(preview.before.reserved_micro),
            reason=Reason(fields["reason"]).label,
            effects=list(_effects(preview)),
            missing=preview.missing_micro and shown.credits_of(preview.missing_micro),
            needs_approval=abs(fields["amount"]) > form.allowed.left_micro,
            limit=shown.credits_of(form.allowed.limit_micro),
        )

    def _confirmed(
        self, request: HttpRequest, wallet: Wallet, form: AdjustForm
    ) -> HttpResponse:
        fields = form.cleaned_data
        asked: dict[str, Any] = {
            "owner": wallet.account,
            "amount_micro": fields["amount"],
            "reason": Reason(fields["reason"]),
            "note": fields["note"],
            "customer_text": fields["customer_text"],
            "form_id": fields["form_id"],
            "staff": user_of(request),
            "visitor": visitor(request),
        }
        try:
            try:
                done = adjustments.adjust(**asked)
            except NeedsApproval:
                waiting = approvals.request(**asked)
                text = (
                    "Nothing is booked yet. Another person must approve this request."
                )
                self.message_user(request, text, messages.WARNING)
                return redirect("admin:wallet_adjustment_change", waiting.pk)
        except DomainError as refusal:
            self.message_user(
                request, f"{refusal.message} Nothing was booked.", messages.ERROR
            )
            return self._preview(request, wallet, form, status=409)
        if done.amount_micro != fields["amount"]:
            self.message_user(
                request,
                f"Nothing was booked: this form was already used for"
                f" {shown.signed(done.amount_micro)} credits. Open a new form.",
                messages.WARNING,
            )
        else:
            text = _describe(done, wallet, fields["seen"])
            self.message_user(request, text, messages.SUCCESS)
        return redirect("admin:wallet_wallet_change", wallet.pk)

    def overdraft_view(self, request: HttpRequest, wallet_id: int) -> HttpResponse:
        """Show and set the overdraft limit; needs its own permission."""
        wallet = self.wallet_or_refuse(request, wallet_id)
        if not request.user.has_perm(adjustments.SET_OVERDRAFT_LIMIT):
            raise PermissionDenied
        now = shown.credits_of(wallet.overdraft_limit_micro)
        form = OverdraftForm(request.POST or None, initial={"limit": now})
        if request.method != "POST" or not form.is_valid():
            return self.answer(
                request,
                wallet,
                "overdraft",
                subtitle="Overdraft limit",
                form=form,
                limit_now=now,
                debt=shown.credits_of(wallet.debt_micro),
            )
        limit = form.cleaned_data["limit"]
        try:
            old = adjustments.set_overdraft_limit(
                wallet=wallet,
                limit_micro=limit,
                note=form.cleaned_data["note"],
                staff=user_of(request),
                visitor=visitor(request),
            )
        except NotAllowed as refusal:
            self.message_user(request, refusal.message, messages.ERROR)
            return redirect("admin:wallet_wallet_overdraft", wallet.pk)
        self.message_user(
            request,
            f"The overdraft limit went from {shown.credits_of(old)} to"
            f" {shown.credits_of(limit)} credits.",
            messages.SUCCESS,
        )
        return redirect("admin:wallet_wallet_change", wallet.pk)

    def of_view(self, request: HttpRequest, account_id: UUID) -> HttpResponse:
        """Redirect to an account's wallet, or show a form that opens one."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        owner = get_object_or_404(User, pk=account_id)
        wallet = Wallet.objects.filter(account=owner).first()
        if wallet is None and request.method == "POST":
            try:
                wallet = adjustments.open_wallet(
                    owner=owner, staff=user_of(request), visitor=visitor(request)
                )
            except NotAllowed as refusal:
                raise PermissionDenied(refusal.message) from refusal
        if wallet is not None:
            return redirect("admin:wallet_wallet_change", wallet.pk)
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": str(owner),
            "opts": self.opts,
            "owner": owner,
            "may_open": request.user.has_perm(adjustments.ADJUST),
        }
        return TemplateResponse(request, "wallet/open.html", context)


def _effects(preview: Preview) -> Iterator[str]:
    """Yield one sentence for each effect that the adjustment would have."""
    if preview.amount_micro > 0:
        yield (
            "The credits become a new promotional grant for all apps, with priority 50"
            " and no expiry."
        )
        if preview.repaid_micro:
            repaid = shown.credits_of(preview.repaid_micro)
            yield f"{repaid} of the credits repay debt immediately."
    for share in preview.shares:
        yield (
            f"{shown.credits_of(share.amount_micro)} come from grant {share.grant.pk}:"
            f" {words.grant(share.grant)},"
            f" {shown.credits_of(share.grant.remaining_micro)} left."
        )


def _describe(done: Adjusted, wallet: Wallet, seen: int | None) -> str:
    amount = shown.credits_of(abs(done.amount_micro))
    verb = "Gave" if done.amount_micro > 0 else "Took"
    way = "to" if done.amount_micro > 0 else "from"
    text = (
        f"{verb} {amount} credits {way} {wallet.account}: the balance went"
        f" from {shown.credits_of(done.before_micro)}"
        f" to {shown.credits_of(done.after_micro)}."
    )
    if not done.created:
        return f"{text} You sent the form more than once; it was booked once."
    if seen is not None and seen != done.before_micro:
        preview = shown.credits_of(seen)
        return f"{text} It had changed since the preview, which showed {preview}."
    return text
