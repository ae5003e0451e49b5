"""/security: every way into an account, what uses it now, and what happened."""

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts import audit, google, identities, passkeys, sessions
from accounts.authentication import browser_session, visitor
from accounts.models import SecurityEvent, User
from accounts.pages import google as by_google
from accounts.pages import keys
from accounts.pages import links as elsewhere
from accounts.visit import signed_in
from focus.errors import NotFound
from focus.middleware import page_policy

RECENT = 20
# Where a kind's own words would not do.
MEANINGS = {
    "account_changed": "Staff changed your account",
    "app_granted": "You let an app spend your credits",
    "app_revoked": "You took an app's permission back",
    "credits_adjusted": "Staff adjusted your credits",
    "account_linked": "An account elsewhere was linked to yours",
    "account_unlinked": "An account elsewhere was unlinked from yours",
    "email_left_alone": "Your email address was proven by another account as well",
    "email_evicted": "Your email address was taken off: its owner came",
    "account_purged": "Everything that opened your account was ended",
    "email_verified": "You showed that your email address is yours",
    "password_changed": "You changed your password",
    "password_change_failed": "A password change failed: the current one was wrong",
    "password_set": "You set a password",
    "password_reset": "A new password was set by a mailed link",
    "identity_linked": "A provider was linked and signs in to your account",
    "identity_unlinked": "A provider was unlinked from your account",
    "passkey_replayed": "A passkey was refused: it may have been copied",
    "rate_limit_set": "Staff changed your request limit",
    "refresh_reused": "A used refresh token was used again; its session was ended",
    "registered": "You opened this account",
    "session_revoked": "A session was ended",
    "sessions_revoked": "Sessions were ended",
    "sign_in_failed": "A sign-in failed",
    "spending_limit_lifted": "You lifted an app's monthly limit",
    "spending_limit_set": "You set an app's monthly limit",
    "token_issued": "An access token was made",
    "used_from_new_network": "A token or key was used from a new network",
    "user_key_issued": "An API key was made",
    "user_key_revoked": "An API key was revoked",
    "webhook_endpoint_disabled": "A webhook endpoint was switched off",
    "webhook_endpoint_enabled": "A webhook endpoint was switched on",
    "webhook_endpoint_made": "A webhook endpoint was added",
    "webhook_resent": "Support sent a webhook delivery again",
    "webhooks_replayed": "Support sent failed webhook deliveries again",
    "webhook_secret_promoted": "A webhook's new secret replaced the old one",
    "webhook_secret_rotated": "A webhook got a new secret beside the old one",
}


@require_safe
@signed_in
def page(request: HttpRequest, user: User) -> HttpResponse:
    here = browser_session(request)
    linked = elsewhere.rows(user=user)
    about = {
        "user": user,
        "links": linked,
        "link_note": elsewhere.told(request, linked),
        "syncable": any(row.link and row.link.is_active for row in linked),
        "identities": identities.of(user=user),
        "google": google.is_configured(),
        "passkeys": passkeys.of(user=user),
        "has_password": user.has_usable_password(),
        **keys.offered(user=user),
        "sessions": sessions.live(user=user)[:50],
        "here": here and here.pk,
        "events": [_event(event) for event in audit.of(user=user)[:RECENT]],
    }
    response = render(request, "accounts/security.html", about)
    # Forms that link an account end there, and browsers hold them to this.
    ways = filter(None, [by_google.origin(), *elsewhere.targets()])
    response["Content-Security-Policy"] = page_policy(*ways)
    return response


@require_POST
@signed_in
def end_session(
    request: HttpRequest, user: User, session_id: uuid.UUID
) -> HttpResponse:
    try:
        sessions.end(user_id=user.pk, session_id=session_id, visitor=visitor(request))
    except NotFound:
        messages.error(request, "That session is not yours, or it never was.")
    else:
        messages.success(request, "That session is signed out.")
    return redirect("/security#sessions")


def _event(event: SecurityEvent) -> dict[str, Any]:
    plain = event.kind.replace("_", " ").capitalize()
    return {
        "what": MEANINGS.get(event.kind, plain),
        "at": event.at,
        "ip": event.ip,
        "user_agent": event.user_agent,
    }
