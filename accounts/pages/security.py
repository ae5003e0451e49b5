"""/security: credentials of the account, active sessions and recent activity."""

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts import audit
from accounts.authentication import browser_session, visitor
from accounts.credentials import scopes, tokens, user_keys
from accounts.models import Session, User
from accounts.pages import links as link_pages
from accounts.pages import user_agents
from accounts.pages.signin import google as by_google
from accounts.pages.visit import signed_in
from accounts.passkeys import signin as passkey_signin
from accounts.providers import google, identities
from accounts.signin import sessions
from focus.errors import NotFound
from focus.web.middleware import page_policy

RECENT = 20
# What the forms offer; the rules allow any number of days between their bounds.
TOKEN_DAYS = (7, 30, tokens.TOKEN_DAYS, 365)
KEY_DAYS = (30, 90, 365)
# The texts of events under Recent activity.
MEANINGS = {
    "account_changed": "Staff changed your account",
    "app_granted": "You allowed an app to spend your credits",
    "app_revoked": "You revoked an app",
    "credits_adjusted": "Staff adjusted your credits",
    "account_linked": "An account on another service was linked",
    "account_unlinked": "An account on another service was unlinked",
    "device_code_wrong": "A wrong device code was entered",
    "email_left_alone": "Another account verified your email address too",
    "email_evicted": "Your email address was removed: its owner verified it",
    "account_purged": "All access to your account was removed",
    "email_verified": "Email verified",
    "email_passkey_refused": "A passkey sign-up with your email address was refused",
    "impersonated": "Support signed in to your account",
    "ledger_texts_erased": "Texts about your jobs and credits were erased",
    "password_changed": "Password changed",
    "password_change_failed": "Password change failed: wrong current password",
    "password_set": "Password set",
    "password_reset": "Password reset with an emailed link",
    "identity_linked": "A sign-in provider was linked",
    "identity_unlinked": "A sign-in provider was unlinked",
    "passkey_replayed": "A passkey was refused because it may have been copied",
    "rate_limit_set": "Staff changed your request limit",
    "refresh_reused": "A refresh token was reused, so its session was signed out",
    "registered": "Account created",
    "run_cancelled": "Support cancelled one of your jobs",
    "run_requeued": "Support started one of your failed jobs again",
    "session_revoked": "Session signed out",
    "sessions_revoked": "All sessions signed out",
    "sign_in_failed": "Sign-in failed",
    "spending_limit_lifted": "You removed an app's monthly limit",
    "spending_limit_set": "You set an app's monthly limit",
    "stored_file_deleted": "Support deleted one of your files",
    "token_issued": "Access token created",
    "top_up_card_saved": "Card saved for automatic top-up",
    "top_up_set": "Automatic top-up changed",
    "top_up_switched_off": "Automatic top-up switched off",
    "used_from_new_network": "A token or key was used from a new network",
    "user_key_issued": "API key created",
    "user_key_revoked": "API key revoked",
    "webhook_endpoint_disabled": "Webhook endpoint paused",
    "webhook_endpoint_enabled": "Webhook endpoint enabled",
    "webhook_endpoint_made": "Webhook endpoint added",
    "webhook_resent": "Support replayed a webhook delivery",
    "webhooks_replayed": "Support replayed failed webhook deliveries",
    "webhook_rotation_cancelled": "Rotation of a webhook secret cancelled",
    "webhook_secret_promoted": "A webhook's new secret replaced the old one",
    "webhook_secret_rotated": "Webhook secret rotated",
}


@require_safe
@signed_in
def page(request: HttpRequest, user: User) -> HttpResponse:
    """Show credentials, linked accounts, sessions and recent activity."""
    return shown(request, user)


def shown(
    request: HttpRequest, user: User, kept: dict[str, Any] | None = None
) -> HttpResponse:
    """Render the page; `kept` holds a refused form, with its part and its error."""
    here = browser_session(request)
    linked = link_pages.rows(user=user)
    about = {
        "user": user,
        "links": linked,
        "link_note": link_pages.note(request, linked),
        "syncable": any(row.link and row.link.is_active for row in linked),
        "identities": identities.linked_identities(user=user),
        "google": google.is_configured(),
        "passkeys": passkey_signin.passkeys_of(user=user),
        "has_password": user.has_usable_password(),
        "kept": kept or {"ticked": ["account:read"]},
        "tokens": tokens.live(user=user)[:50],
        "keys": user_keys.live(user=user)[:50],
        "scopes": scopes.SCOPES,
        "token_days": TOKEN_DAYS,
        "usual_days": tokens.TOKEN_DAYS,
        "key_days": KEY_DAYS,
        "sessions": [_session(row) for row in sessions.live(user=user)[:50]],
        "here": here and here.pk,
        "events": [_event(one) for one in audit.owner_events(user=user, limit=RECENT)],
    }
    response = render(request, "accounts/security.html", about)
    # Forms that link an account redirect there; browsers check `form-action` for it.
    targets = filter(None, [by_google.origin(), *link_pages.targets()])
    response["Content-Security-Policy"] = page_policy(*targets)
    return response


@require_POST
@signed_in
def end_session(
    request: HttpRequest, user: User, session_id: uuid.UUID
) -> HttpResponse:
    """Sign out one session of this account."""
    try:
        sessions.end(user_id=user.pk, session_id=session_id, visitor=visitor(request))
    except NotFound:
        messages.error(request, "Session not found.")
    else:
        messages.success(request, "The session is signed out.")
    return redirect("/security#sessions")


def _session(row: Session) -> dict[str, Any]:
    browser = user_agents.describe(row.user_agent)
    in_browser = row.kind == Session.Kind.BROWSER
    name = (browser if in_browser else row.client) or "Unknown client"
    return {"row": row, "name": name, "browser": "" if in_browser else browser}


def _event(event: audit.OwnerEvent) -> dict[str, Any]:
    plain = event.kind.replace("_", " ").capitalize()
    return {
        "what": MEANINGS.get(event.kind, plain),
        "at": event.at,
        "by_staff": event.by_staff,
        "ip": event.ip,
        "user_agent": event.user_agent,
        "browser": user_agents.describe(event.user_agent),
    }
