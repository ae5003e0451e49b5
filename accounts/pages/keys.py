"""Access tokens and API keys on /security: create, show once, revoke."""

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from accounts.authentication import visitor
from accounts.credentials import scopes, tokens, user_keys
from accounts.models import User
from accounts.pages import security
from accounts.pages.visit import require_second_proof, signed_in
from accounts.pages.waiting import say_when
from focus.errors import DomainError, NotFound
from focus.limiting import limits
from focus.limiting.limits import AUTH

# Labels of fields that differ from their names.
_LABELS = {"scopes": "Permissions", "days": "Expires"}


class NewToken(forms.Form):
    """The form of a new access token."""

    name = forms.CharField(max_length=120)
    scopes = forms.MultipleChoiceField(
        choices=list(scopes.SCOPES.items()),
        error_messages={"required": "Choose at least one permission."},
    )
    days = forms.IntegerField(min_value=1, max_value=tokens.TOKEN_DAYS_MAX)


class NewKey(forms.Form):
    """The form of a new API key."""

    name = forms.CharField(max_length=120)
    # Empty: the key does not expire.
    days = forms.IntegerField(min_value=1, max_value=user_keys.DAYS_MAX, required=False)


@require_POST
@signed_in
def new_token(request: HttpRequest, user: User) -> HttpResponse:
    """Create an access token and show its secret once."""
    form = NewToken(request.POST)
    try:
        fields = _allowed(request, form)
        issued = tokens.issue(
            user=user,
            name=fields["name"],
            scopes=scopes.exactly(fields["scopes"]),
            days=fields["days"],
            visitor=visitor(request),
        )
    except DomainError as refusal:
        return _refuse(request, user, refusal, "tokens")
    return _show(request, user, issued.token, issued.secret, "tokens")


@require_POST
@signed_in
def new_key(request: HttpRequest, user: User) -> HttpResponse:
    """Create an API key and show its secret once."""
    form = NewKey(request.POST)
    try:
        fields = _allowed(request, form)
        issued = user_keys.issue(
            user=user,
            name=fields["name"],
            days=fields["days"],
            visitor=visitor(request),
        )
    except DomainError as refusal:
        return _refuse(request, user, refusal, "keys")
    return _show(request, user, issued.key, issued.secret, "keys")


@require_POST
@signed_in
def revoke_token(request: HttpRequest, user: User, token_id: uuid.UUID) -> HttpResponse:
    """Revoke an access token of this account."""
    try:
        token = tokens.revoke(user=user, token_id=token_id, visitor=visitor(request))
    except NotFound:
        messages.error(request, "Token not found.")
    else:
        messages.success(request, f"You revoked the token “{token.name}”.")
    return redirect("/security#tokens")


@require_POST
@signed_in
def revoke_key(request: HttpRequest, user: User, key_id: uuid.UUID) -> HttpResponse:
    """Revoke an API key of this account."""
    try:
        key = user_keys.revoke(user=user, key_id=key_id, visitor=visitor(request))
    except NotFound:
        messages.error(request, "Key not found.")
    else:
        messages.success(request, f"You revoked the key “{key.name}”.")
    return redirect("/security#keys")


def _allowed(request: HttpRequest, form: forms.Form) -> dict[str, Any]:
    """Return the form's values after the rate limit and a recent second proof.

    Raises the refusals of both, and `DomainError` for the first wrong field.
    """
    limits.tally_of(request).count((AUTH,))
    require_second_proof(request)
    for field, wrong in form.errors.get_json_data().items():
        label = _LABELS.get(field, field.capitalize())
        raise DomainError(f"{label}: {wrong[0]['message']}")
    return form.cleaned_data


def _refuse(
    request: HttpRequest, user: User, refusal: DomainError, part: str
) -> HttpResponse:
    """Render the page with the refusal and the form's own values."""
    kept = {"part": part, "error": refusal.message, "form": request.POST}
    response = security.shown(request, user, kept | {"ticked": _ticked(request)})
    response.status_code = 400
    return say_when(response, refusal)


def _ticked(request: HttpRequest) -> list[str]:
    return request.POST.getlist("scopes")


def _show(
    request: HttpRequest, user: User, row: Any, secret: str, part: str
) -> HttpResponse:
    """Show the secret in this response, which no cache may store."""
    about = {"user": user, "row": row, "secret": secret, "part": part}
    response = render(request, "accounts/secret.html", about)
    response["Cache-Control"] = "no-store"
    return response
