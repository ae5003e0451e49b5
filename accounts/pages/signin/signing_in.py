"""/signin and /signout: the shared sign-in of all apps."""

import json

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts.authentication import browser_session, clerk_principal, visitor
from accounts.credentials.principals import Principal
from accounts.models import App, Session, User
from accounts.pages.signin import entering, limiting
from accounts.pages.signin import google as by_google
from accounts.pages.visit import SignInAgain, require_second_proof
from accounts.pages.waiting import say_when
from accounts.partners import consents, origins, redirects
from accounts.passkeys import signin as passkey_signin
from accounts.providers import google
from accounts.signin import passwords, sessions
from focus.errors import DomainError
from focus.limiting import limits
from focus.limiting.limits import SIGN_IN, Limited
from focus.money import from_micro
from focus.web.middleware import page_policy
from wallet import budgets


class GuestGone(DomainError):
    """Clerk's token has expired since the page was shown."""


class BoundGuest(DomainError):
    """Clerk issued the token for an app's page, so the app's server has it too.

    That server could send the token here as a cookie. A session would turn a credential
    bound to the app into access to the whole account.
    """


@limits.refuses_unread(*SIGN_IN)
@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    """Sign in or create an account, then redirect to the app or to our page."""
    parameters = request.POST if request.method == "POST" else request.GET
    destination = entering.destination(
        parameters.get("redirect_to"), parameters.get("next", "")
    )
    if destination is None:
        return render(request, "accounts/bad_redirect.html", status=400)
    if request.method == "POST":
        return _answer(request, destination)
    session = browser_session(request)
    # Redirect loop: a page that checks Django's user would send the browser back here.
    if session is not None and request.user == session.user:
        if "again" in parameters:
            return _form(request, destination)
        if (app := _revoked_app(session, destination)) is not None:
            return _allow(request, session, destination, app)
        return entering.leave(session, destination)
    guest = clerk_principal(request)
    if guest is not None and entering.may_pass_on(guest, destination):
        return entering.pass_on(request, guest, destination)
    return _form(request, destination, guest=guest)


@require_http_methods(["GET", "HEAD", "POST"])
def sign_out(request: HttpRequest) -> HttpResponse:
    """End this browser's session. Needs a form, so that no foreign link signs out."""
    if request.method == "POST":
        session = browser_session(request)
        if session is not None:
            sessions.revoke(session=session, visitor=visitor(request))
        request.session.flush()
    return redirect(redirects.allowed_path(request.POST.get("next", "")) or "/")


def _answer(request: HttpRequest, destination: entering.Destination) -> HttpResponse:
    tally = limits.tally_of(request)
    if request.POST.get("intent") == "allow":
        return _allowed(request, destination)
    try:
        limiting.read(request.POST)
        tally.count(SIGN_IN)
        if request.POST.get("intent") == google.PROVIDER:
            return by_google.send(destination)
        session = _enter(request)
    except DomainError as refusal:
        try:
            if limits.is_wrong_guess(refusal):
                tally.count_wrong_guess()
        except Limited as too_many:
            refusal = too_many
        return _form(request, destination, refusal)
    app = redirects.app_of(destination.target) if destination.target else None
    if app is not None:
        limiting.set_first(
            user=session.user, app=app, form=request.POST, visitor=visitor(request)
        )
    return entering.leave(session, destination)


def _revoked_app(session: Session, destination: entering.Destination) -> App | None:
    """Return the app at the destination if this person revoked it, else None."""
    app = redirects.app_of(destination.target) if destination.target else None
    if app is None or not consents.is_revoked(user=session.user, app_id=app.pk):
        return None
    return app


def _allow(
    request: HttpRequest,
    session: Session,
    destination: entering.Destination,
    app: App,
    refusal: DomainError | None = None,
) -> HttpResponse:
    """Ask whether to allow an app again that the person revoked."""
    limit_micro = budgets.limit_of(user=session.user, app=app)
    now = None if limit_micro is None else str(from_micro(limit_micro))
    about = {
        "user": session.user,
        "app": app,
        "destination": destination,
        "limit": request.POST.get(limiting.FIELD) or now or limiting.suggested(),
        "error": refusal.message if refusal else "",
    }
    status = 400 if refusal else 200
    response = render(request, "accounts/allow.html", about, status=status)
    origin = origins.origin_of(destination.target) or ""
    response["Content-Security-Policy"] = page_policy(origin)
    response["Cache-Control"] = "no-store"
    return response


def _allowed(request: HttpRequest, destination: entering.Destination) -> HttpResponse:
    """Allow a revoked app again, with the chosen limit, after a recent second proof."""
    session = browser_session(request)
    app = _revoked_app(session, destination) if session else None
    if session is None or app is None:
        return redirect(f"/signin?{destination.query}")
    try:
        require_second_proof(request)
        limit_micro = limiting.read(request.POST)
        consents.grant(user=session.user, app_id=app.pk)
        budgets.set_limit(
            user=session.user,
            app=app,
            limit_micro=limit_micro,
            visitor=visitor(request),
        )
    except SignInAgain:
        return redirect(f"/signin?again=1&{destination.query}")
    except DomainError as refusal:
        return _allow(request, session, destination, app, refusal)
    return entering.leave(session, destination)


def _enter(request: HttpRequest) -> Session:
    intent, where = request.POST.get("intent"), visitor(request)
    if intent == "passkey":
        return passkey_signin.sign_in(
            nonce=request.POST.get("authentication_id"),
            credential=_credential(request.POST.get("credential", "")),
            begin=lambda passkey, methods: entering.open_session(
                request, passkey.user, methods, passkey
            ),
            visitor=where,
        )
    if intent == "clerk":
        guest = clerk_principal(request)
        if guest is None or not isinstance(guest.user, User) or guest.read_only:
            raise GuestGone("Your sign-in has expired. Sign in again.")
        if guest.bound_to is not None:
            raise BoundGuest(
                "A sign-in at an app does not open your whole account. Sign in here."
            )
        return entering.open_session(request, guest.user, ["clerk"])
    enter = passwords.register if intent == "create" else passwords.authenticate
    email, password = request.POST.get("email", ""), request.POST.get("password", "")
    return entering.open_session(
        request, enter(email=email, password=password, visitor=where), ["pwd"]
    )


def _email(request: HttpRequest) -> str:
    """Return the address of the person who must sign in again, or ""."""
    return getattr(request.user, "email", "") or ""


def _credential(text: str) -> object:
    """Return the credential that our script put into the form, None for other text."""
    if "\\u0000" in text:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _wrong_fields(refusal: DomainError | None) -> tuple[str, ...]:
    """Return the fields that `refusal` is about: both for a wrong password."""
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
    # Neither support staff who impersonate a person nor an app get a session of ours.
    opens = guest is not None and not guest.read_only and guest.bound_to is None
    about = {
        "guest": guest.user if guest is not None and opens else None,
        "destination": destination,
        "limit": request.POST.get(limiting.FIELD) or limiting.suggested(),
        "no_limit": limiting.NONE in request.POST,
        "again": "again" in request.GET or "again" in request.POST,
        "error": refusal.message if refusal else "",
        "wrong": _wrong_fields(refusal),
        "creating": request.POST.get("intent") == "create" or "create" in request.GET,
        "email": request.POST.get("email", "") or _email(request),
        "google": google.is_configured(),
    }
    status = 400 if refusal else 200
    response = render(request, "accounts/signin.html", about, status=status)
    say_when(response, refusal)
    origin = origins.origin_of(destination.target) if destination.target else None
    # Browsers check `form-action` on every redirect after the form.
    ways = [origin, by_google.origin()]
    response["Content-Security-Policy"] = page_policy(*filter(None, ways))
    response["Cache-Control"] = "no-store"
    return response
