"""Google on our own pages: sign-in, linking on /security, and a confirmation page.

Google redirects to a page of ours, so that errors are shown on a page.
"""

import uuid
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from accounts.authentication import browser_session, visitor
from accounts.credentials.proofs import SecondProofRequired
from accounts.models import Session, User
from accounts.pages.signin import entering
from accounts.pages.signin.entering import Destination
from accounts.pages.visit import require_second_proof, signed_in
from accounts.partners import origins, redirects
from accounts.passkeys import signin as passkey_signin
from accounts.providers import arrivals, google, identities, oauth_cookie
from accounts.providers.google import Claims, Flow, SignInToConfirm
from accounts.signin import sessions, tickets
from focus.errors import DomainError, NotFound
from focus.limiting import limits
from focus.limiting.limits import AUTH
from focus.web.middleware import page_policy

CALLBACK = "/signin/google"
DOOR, REVIV = "page", "reviv"
# RFC 8176 registers no value for a federated sign-in; `fed` is the usual one.
METHODS = ["fed"]
# The texts for `?error=` on the front end's page, where that page is ours.
MEANINGS = {
    "access_denied": "Sign-in with Google was cancelled. Try again or use your "
    "password.",
    "account_closed": "This account is closed.",
    "email_in_use": "An account with this email address already exists. Sign in "
    "to it as usual, then link Google on its security page.",
}
FAILED = "Sign-in with Google failed. Try again or use your password."


def origin() -> str | None:
    """Return the origin that a form redirects to for Google, or None without Google."""
    return (
        origins.origin_of(settings.GOOGLE_AUTHORIZE_URL)
        if google.is_configured()
        else None
    )


def send(goal: Destination) -> HttpResponse:
    """Redirect to Google; the sign-in ends at `goal`."""
    return _send({"target": goal.target, "page": goal.page})


@require_GET
def callback(request: HttpRequest) -> HttpResponse:
    """Finish a redirect from Google with a session, a new link or a question."""
    state, error = request.GET.get("state", ""), request.GET.get("error", "")
    context: dict[str, Any] = {}
    try:
        limits.tally_of(request).count((AUTH,))
        flow = google.resume(door=DOOR, state=state)
        context = flow.context
        if error:
            raise google.ExchangeFailed(MEANINGS.get(error, FAILED))
        claims = google.finish(flow=flow, code=request.GET.get("code", ""))
        began_here = flow.began_in(oauth_cookie.read(request, state))
        if "user" in context:
            response = _link(request, flow, claims, began_here)
        elif began_here:
            response = _enter(request, claims, context)
        else:
            response = _confirmation_page(request, flow, claims)
    except DomainError as refusal:
        response = _refuse(request, refusal, context)
    oauth_cookie.drop(response, state)
    return response


@limits.refuses_unread(AUTH)
@require_POST
def finish_confirmed(request: HttpRequest) -> HttpResponse:
    """Finish a sign-in of another browser that the person confirmed as their own."""
    try:
        limits.tally_of(request).count((AUTH,))
        asked = google.take_confirmed(nonce=request.POST.get("asked"))
        if asked.door == REVIV:
            return _to_front(request, asked)
        return _enter(request, asked.claims, asked.context)
    except DomainError as refusal:
        return _refuse(request, refusal)


@limits.refuses_unread(AUTH)
@require_POST
@signed_in
def begin_link(request: HttpRequest, user: User) -> HttpResponse:
    """Redirect to Google to link an account; needs a recent second proof."""
    try:
        limits.tally_of(request).count((AUTH,))
        require_second_proof(request)
        return _send({"user": str(user.pk), "page": "/security"})
    except DomainError as refusal:
        return _refuse(request, refusal)


@require_POST
@signed_in
def unlink(request: HttpRequest, user: User, identity_id: uuid.UUID) -> HttpResponse:
    """Unlink a Google account; needs a recent second proof."""
    try:
        require_second_proof(request)
        row = identities.unlink(
            user=user, identity_id=identity_id, visitor=visitor(request)
        )
    except NotFound:
        messages.error(request, "Linked sign-in not found.")
    except (passkey_signin.LastWayIn, SecondProofRequired) as refusal:
        messages.error(request, refusal.message)
    else:
        name = row.get_provider_display()
        messages.success(request, f"{name} can no longer sign in to your account.")
    return redirect("/security#identities")


@require_GET
def arrived(request: HttpRequest) -> HttpResponse:
    """Show the result of reviv's redirect sign-in where the front end is ours."""
    error = request.GET.get("error")
    about = {"error": MEANINGS.get(error, FAILED) if error else ""}
    response = render(request, "accounts/arrived.html", about)
    response["Referrer-Policy"] = "no-referrer"
    return response


def _send(context: dict[str, Any]) -> HttpResponse:
    uri = f"{settings.PUBLIC_BASE_URL}{CALLBACK}"
    begun = google.begin(door=DOOR, redirect_uri=uri, context=context)
    response = redirect(begun.url)
    oauth_cookie.put(response, begun)
    return response


def _enter(
    request: HttpRequest, claims: Claims, context: dict[str, Any]
) -> HttpResponse:
    def begin(user: User) -> Session:
        return entering.open_session(request, user, METHODS)

    session = arrivals.by_google(claims=claims, begin=begin, visitor=visitor(request))
    return entering.leave(session, _goal(context))


def _link(
    request: HttpRequest, flow: Flow, claims: Claims, began_here: bool
) -> HttpResponse:
    session = browser_session(request)
    same = session is not None and str(session.user_id) == flow.context["user"]
    if session is None or not (same and began_here):
        raise google.InvalidGoogleState(
            "This request was started in another browser or account. Try again."
        )
    arrivals.link_google(user=session.user, claims=claims, visitor=visitor(request))
    messages.success(request, "You can now sign in with Google.")
    return redirect("/security#identities")


def _confirmation_page(
    request: HttpRequest, flow: Flow, claims: Claims
) -> HttpResponse:
    """Ask for a confirmation before the sign-in.

    Login CSRF: an attacker can start a sign-in with their own Google account and send
    the callback address to a victim.
    """
    target = flow.context["target"]
    home = settings.PUBLIC_BASE_URL
    origin_of_goal = origins.origin_of(target or home) or ""
    about = {
        "email": claims.email or "a Google account",
        "host": origin_of_goal.partition("://")[2],
        "asked": google.keep_for_confirmation(
            door=DOOR, context=flow.context, claims=claims
        ),
    }
    response = render(request, "accounts/continue.html", about)
    response["Content-Security-Policy"] = page_policy(origin_of_goal)
    return response


def _to_front(request: HttpRequest, asked: SignInToConfirm) -> HttpResponse:
    """Finish reviv's redirect sign-in after the confirmation."""

    def begin(user: User) -> Session:
        return sessions.begin(
            user=user,
            client=REVIV,
            access_seconds=0,
            methods=METHODS,
            visitor=visitor(request),
        ).session

    session = arrivals.by_google(
        claims=asked.claims, begin=begin, visitor=visitor(request)
    )
    target = redirects.frontend_url(asked.context["return_to"])
    ticket = tickets.issue(session=session, origin=origins.origin_of(target) or "")
    response = redirect(redirects.with_parameter(target, "ticket", ticket))
    response["Referrer-Policy"] = "no-referrer"
    return response


def _refuse(
    request: HttpRequest, refusal: DomainError, context: dict[str, Any] | None = None
) -> HttpResponse:
    """Show the refusal. The page contains no text from Google or the caller."""
    goal = _goal(context or {})
    about = {"error": refusal.message, "again": f"/signin?{goal.query}"}
    if context and "user" in context:
        about["again"] = "/security#identities"
    response = render(request, "accounts/arrived.html", about, status=400)
    if refusal.retry_after_seconds is not None:
        response.status_code = 429 if isinstance(refusal, limits.Limited) else 503
        response["Retry-After"] = str(refusal.retry_after_seconds)
    return response


def _goal(context: dict[str, Any]) -> Destination:
    """Return the destination, or the account page if its app has left the registry."""
    target, page = context.get("target") or None, context.get("page", "")
    return entering.destination(target, page) or Destination()
