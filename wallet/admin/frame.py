"""The base of the pages of one wallet: permission, template context, audit."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse

from accounts import audit
from accounts.authentication import user_of, visitor
from focus.admin_site.lists import ReadOnly
from wallet import adjustments
from wallet.ledger import NOW
from wallet.models import Wallet


class WalletPages(ReadOnly):
    """The base class of the wallet's staff pages."""

    def wallet_or_refuse(self, request: HttpRequest, wallet_id: int | None) -> Wallet:
        """Return the wallet with `now`; 403 without the view permission, else 404."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return get_object_or_404(with_now(), pk=wallet_id)

    def answer(
        self,
        request: HttpRequest,
        wallet: Wallet,
        template: str,
        status: int = 200,
        **facts: Any,
    ) -> HttpResponse:
        """Render a template of one wallet with the frame around it."""
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": str(wallet.account),
            "opts": self.opts,
            "wallet": wallet,
            "may": {
                "adjust": request.user.has_perm(adjustments.ADJUST),
                "overdraft": request.user.has_perm(adjustments.SET_OVERDRAFT_LIMIT),
                "account": request.user.has_perm("accounts.view_user"),
            },
            **facts,
        }
        page_of = f"wallet/{template}.html"
        return TemplateResponse(request, page_of, context, status=status)

    def note(
        self, request: HttpRequest, kind: str, wallet: Wallet, **facts: Any
    ) -> None:
        """Record in the audit that staff read or exported data of `wallet`."""
        staff = user_of(request)
        audit.record(
            kind,
            user=wallet.account,
            actor=str(staff),
            visitor=visitor(request),
            staff_id=str(staff.pk),
            wallet=wallet.pk,
            **facts,
        )


def with_now() -> QuerySet[Wallet]:
    """Return wallets with their accounts and the database's time as `now`."""
    return Wallet.objects.select_related("account").annotate(now=NOW)
