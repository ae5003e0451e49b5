"""/device: enter the code of a device, then approve or deny its access (RFC 8628)."""

from collections.abc import Sequence

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from accounts.authentication import visitor
from accounts.credentials import proofs, scopes
from accounts.models import DeviceGrant, User
from accounts.pages import user_agents
from accounts.pages.visit import require_second_proof, signed_in
from accounts.signin import devices
from focus.errors import DomainError


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def page(request: HttpRequest, user: User) -> HttpResponse:
    """Show the code field, the confirmation or the result.

    A code in the URL only fills the field: a lookup needs a form from this page.
    """
    if request.method != "POST":
        return _confirmation_page(request, request.GET.get("user_code", ""))
    user_code = request.POST.get("user_code", "")
    intent = request.POST.get("intent")
    try:
        if intent == "approve":
            return _approve(request, user, user_code)
        if intent == "deny":
            return _deny(request, user, user_code)
        grant = devices.find(user=user, user_code=user_code, visitor=visitor(request))
        return _confirm(request, grant)
    except DomainError as refusal:
        return _confirmation_page(request, user_code, refusal.message)


def _approve(request: HttpRequest, user: User, user_code: str) -> HttpResponse:
    grant = devices.find(user=user, user_code=user_code, visitor=visitor(request))
    ticked = request.POST.getlist("scopes")
    chosen = [scope for scope in grant.scopes if scope in ticked]
    if not chosen:
        error = "Choose at least one permission."
        return _confirm(request, grant, error, chosen)
    try:
        require_second_proof(request)
    except proofs.SecondProofRequired as refusal:
        return _confirm(request, grant, refusal.message, chosen)
    grant = devices.decide(
        user=user,
        user_code=user_code,
        approve=True,
        granted_scopes=chosen,
        visitor=visitor(request),
    )
    return render(request, "accounts/device_done.html", {"grant": grant})


def _deny(request: HttpRequest, user: User, user_code: str) -> HttpResponse:
    grant = devices.decide(
        user=user, user_code=user_code, approve=False, visitor=visitor(request)
    )
    return render(request, "accounts/device_done.html", {"grant": grant})


def _confirmation_page(
    request: HttpRequest, user_code: str, error: str = ""
) -> HttpResponse:
    about = {"user_code": user_code[:16], "error": error}
    status = 400 if error else 200
    return render(request, "accounts/device.html", about, status=status)


def _confirm(
    request: HttpRequest,
    grant: DeviceGrant,
    error: str = "",
    chosen: Sequence[str] | None = None,
) -> HttpResponse:
    """Render the confirmation with the `chosen` scopes ticked, by default all."""
    ticked = grant.scopes if chosen is None else chosen
    about = {
        "grant": grant,
        "browser": user_agents.describe(grant.user_agent),
        "user_code": devices.format_user_code(grant.user_code),
        "scopes": [
            (scope, scopes.SCOPES[scope], scope in ticked) for scope in grant.scopes
        ],
        "error": error,
    }
    status = 400 if error else 200
    return render(request, "accounts/device_confirm.html", about, status=status)
