"""/apps: who may spend a person's credits in their name."""

import uuid

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts import consents
from accounts.authentication import visitor
from accounts.models import User
from accounts.visit import signed_in


@require_safe
@signed_in
def page(request: HttpRequest, user: User) -> HttpResponse:
    about = {"user": user, "consents": consents.granted(user=user)}
    return render(request, "accounts/apps.html", about)


@require_POST
@signed_in
def revoke(request: HttpRequest, user: User, app_id: uuid.UUID) -> HttpResponse:
    if consents.revoke(user=user, app_id=app_id, visitor=visitor(request)):
        messages.success(request, "The app can no longer spend your credits by itself.")
    return redirect("/apps")
