"""/signin and /signout: the shared sign-in that apps send their people to."""

import json

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts import google, origins, passkeys, passwords, redirects, sessions
from accounts.authentication import browser_session, clerks_guest, visitor
from accounts.models import Session, User
from accounts.pages import entering
from accounts.pages import google as by_google
from accounts.pages.waiting import say_when
from accounts.principals import Principal
from focus import limits
from focus.errors import DomainError
from focus.limits import SIGN_IN, Limited
from focus.middleware import page_policy


class GuestGone(DomainError):
    """Clerk's token has run out since the page was shown."""


@limits.refuses_unread(*SIGN_IN)
@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    """Sign in or create an account, then go where the app or our page asked for."""
    wish = request.POST if request.method == "POST" else request.GET
    destination = entering.destination(wish.get("redirect_to"), wish.get("next", ""))
    if destination is None:
        return render(request, "accounts/bad_redirect.html", status=400)
    if request.method == "POST":
        return _answer(request, destination)
    session = browser_session(request)
    # Django must agree, or a page that asks Django would send them back here for ever.
    if session is not None and request.user == session.user:
        return entering.leave(session, destination)
    guest = clerks_guest(request)
    if guest is not None and entering.may_pass_on(guest, destination):
        return entering.pass_on(request, guest, destination)
    return _form(request, destination, guest=guest)


@require_http_methods(["GET", "HEAD", "POST"])
def sign_out(request: HttpRequest) -> HttpResponse:
    """End this browser's session. Only a form can: a link from elsewhere must not."""
    if request.method == "POST":
        session = browser_session(request)
        if session is not None:
            sessions.revoke(session=session, visitor=visitor(request))
        request.session.flush()
    return redirect(redirects.relative(request.POST.get("next", "")) or "/")


def _answer(request: HttpRequest, destination: entering.Destination) -> HttpResponse:
    tally = limits.of(request)
    try:
        tally.count(SIGN_IN)
        if request.POST.get("intent") == google.PROVIDER:
            return by_google.send(destination)
        session = _enter(request)
    except DomainError as refusal:
        try:
            if limits.is_wrong_guess(refusal):
                tally.failed()
        except Limited as too_many:
            refusal = too_many
        return _form(request, destination, refusal)
    return entering.leave(session, destination)


def _enter(request: HttpRequest) -> Session:
    intent, where = request.POST.get("intent"), visitor(request)
    if intent == "passkey":
        return passkeys.sign_in(
            nonce=request.POST.get("authentication_id"),
            credential=_credential(request.POST.get("credential", "")),
            begin=lambda passkey, methods: entering.open_session(
                request, passkey.user, methods, passkey
            ),
            visitor=where,
        )
    if intent == "clerk":
        guest = clerks_guest(request)
        if guest is None or not isinstance(guest.user, User) or guest.read_only:
            raise GuestGone("That sign-in has ended. Sign in again.")
        return entering.open_session(request, guest.user, ["clerk"])
    enter = passwords.register if intent == "create" else passwords.authenticate
    email, password = request.POST.get("email", ""), request.POST.get("password", "")
    return entering.open_session(
        request, enter(email=email, password=password, visitor=where), ["pwd"]
    )


def _credential(text: str) -> object:
    """What our script put into the form; None for anything else."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _wrong_fields(refusal: DomainError | None) -> tuple[str, ...]:
    """The fields that `refusal` is about. Of a wrong sign-in it may be either."""
    if isinstance(refusal, passwords.WeakPassword):
        return ("password",)
    if isinstance(refusal, passwords.InvalidEmail | passwords.EmailTaken):
        return ("email",)
    if isinstance(refusal, passwords.InvalidCredentials):
        return ("email", "password")
    return ()


def _form(
    request: HttpRequest,
    destination: entering.Destination,
    refusal: DomainError | None = None,
    guest: Principal | None = None,
) -> HttpResponse:
    about = {
        # Whoever acts in somebody's place must not become them.
        "guest": guest.user if guest is not None and not guest.read_only else None,
        "destination": destination,
        "error": refusal.message if refusal else "",
        "wrong": _wrong_fields(refusal),
        "creating": request.POST.get("intent") == "create" or "create" in request.GET,
        "email": request.POST.get("email", ""),
        "google": google.is_configured(),
    }
    status = 400 if refusal else 200
    response = render(request, "accounts/signin.html", about, status=status)
    say_when(response, refusal)
    origin = origins.of(destination.target) if destination.target else None
    # Browsers hold a form to this through every redirect that follows it.
    ways = [origin, by_google.origin()]
    response["Content-Security-Policy"] = page_policy(*filter(None, ways))
    response["Cache-Control"] = "no-store"
    return response
