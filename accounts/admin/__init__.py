"""Staff pages of accounts, apps and credentials; no page deletes or shows a secret."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts.admin import apps, groups, links, mails, people, secrets
from accounts.authentication import browser_session, visitor
from accounts.signin import sessions

__all__ = ["apps", "groups", "links", "mails", "people", "secrets"]


def sign_in_first(request: HttpRequest, extra_context: Any = None) -> HttpResponse:
    """Redirect to /signin: the admin has no password form of its own."""
    if request.user.is_authenticated and not admin.site.has_permission(request):
        raise PermissionDenied
    wanted = request.GET.get("next", "/admin/")
    return redirect(f"/signin?{urlencode({'next': wanted})}")


def sign_out_of_all(request: HttpRequest, extra_context: Any = None) -> HttpResponse:
    """End this browser's session and the tokens that came from it."""
    if request.method == "POST":
        session = browser_session(request)
        if session is not None:
            sessions.revoke(session=session, visitor=visitor(request))
        request.session.flush()
    return redirect("/")


# Django's documented way to replace the sign-in views of its admin.
admin.site.login = sign_in_first  # type: ignore[method-assign]
admin.site.logout = sign_out_of_all  # type: ignore[method-assign, assignment]
