"""Remove passkeys on /security. A script adds them through reviv's API."""

import uuid

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from accounts.authentication import visitor
from accounts.credentials.proofs import SecondProofRequired
from accounts.models import User
from accounts.pages.visit import require_second_proof, signed_in
from accounts.passkeys import signin as passkey_signin
from focus.errors import NotFound


@require_POST
@signed_in
def remove(request: HttpRequest, user: User, passkey_id: uuid.UUID) -> HttpResponse:
    """Remove a passkey of this account; needs a recent second proof."""
    try:
        require_second_proof(request)
        passkey = passkey_signin.remove(
            user=user, passkey_id=passkey_id, visitor=visitor(request)
        )
    except NotFound:
        messages.error(request, "Passkey not found.")
    except (passkey_signin.LastWayIn, SecondProofRequired) as refusal:
        messages.error(request, refusal.message)
    else:
        messages.success(request, f"You removed the passkey “{passkey.name}”.")
    return redirect("/security#passkeys")
