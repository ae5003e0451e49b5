"""Staff's view of people, apps and their secrets: none deleted, none shown."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts.admin import apps, people, secrets

__all__ = ["apps", "people", "secrets"]


def sign_in_first(request: HttpRequest, extra_context: Any = None) -> HttpResponse:
    """One sign-in for everything: the admin has no password form of its own."""
    if request.user.is_authenticated and not admin.site.has_permission(request):
        raise PermissionDenied
    wanted = request.GET.get("next", "/admin/")
    return redirect(f"/signin?{urlencode({'next': wanted})}")


# Django's own way to change the door of its admin.
admin.site.login = sign_in_first  # type: ignore[method-assign]
