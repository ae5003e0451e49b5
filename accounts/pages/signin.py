"""/signin and /signout: the shared sign-in that apps send their people to."""

import json
from dataclasses import dataclass
from urllib.parse import urlencode

from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts import origins, passkeys, passwords, redirects, sessions
from accounts.authentication import browser_session, visitor
from accounts.models import Passkey, Session, User
from accounts.nonces import Unavailable
from focus import limits
from focus.errors import DomainError
from focus.limits import SIGN_IN, Limited
from focus.middleware import page_policy

# Guide 1A: "your landing URL may include a `token`". It is on its way for seconds.
REDIRECT_TOKEN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the person goes afterwards: an app (`target`) or a page of ours."""

    target: str = ""
    page: str = "/"

    @property
    def query(self) -> str:
        return urlencode({"redirect_to": self.target}) if self.target else ""

    @property
    def app(self) -> str:
        """The host that a person reads before typing a password."""
        return (origins.of(self.target) or "").partition("://")[2]


@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    """Sign in or create an account, then go where the app or our page asked for."""
    wish = request.POST if request.method == "POST" else request.GET
    destination = _destination(wish.get("redirect_to"), wish.get("next", ""))
    if destination is None:
        return render(request, "accounts/bad_redirect.html", status=400)
    if request.method == "POST":
        return _answer(request, destination)
    session = browser_session(request)
    # Django must agree, or a page that asks Django would send them back here for ever.
    if session is not None and request.user == session.user:
        return _leave(session, destination)
    return _form(request, destination)


@require_http_methods(["GET", "HEAD", "POST"])
def sign_out(request: HttpRequest) -> HttpResponse:
    """End this browser's session. Only a form can: a link from elsewhere must not."""
    if request.method == "POST":
        session = browser_session(request)
        if session is not None:
            sessions.revoke(session=session, visitor=visitor(request))
        request.session.flush()
    return redirect("/")


def _destination(redirect_to: str | None, next_page: str) -> Destination | None:
    """None for a target that is not registered: then nothing is sent anywhere."""
    if redirect_to is None:
        return Destination(page=redirects.relative(next_page) or "/")
    target = redirects.absolute(redirect_to)
    return Destination(target=target) if target else None


def _answer(request: HttpRequest, destination: Destination) -> HttpResponse:
    tally = limits.of(request)
    try:
        tally.count(SIGN_IN)
        session = _enter(request)
    except DomainError as refusal:
        try:
            if limits.is_wrong_guess(refusal):
                tally.failed()
        except Limited as too_many:
            refusal = too_many
        return _form(request, destination, refusal)
    return _leave(session, destination)


def _enter(request: HttpRequest) -> Session:
    intent, where = request.POST.get("intent"), visitor(request)
    if intent == "passkey":
        return passkeys.sign_in(
            nonce=request.POST.get("authentication_id"),
            credential=_credential(request.POST.get("credential", "")),
            begin=lambda passkey, methods: _open(
                request, passkey.user, methods, passkey
            ),
            visitor=where,
        )
    enter = passwords.register if intent == "create" else passwords.authenticate
    email, password = request.POST.get("email", ""), request.POST.get("password", "")
    return _open(request, enter(email=email, password=password, visitor=where), ["pwd"])


def _credential(text: str) -> object:
    """What our script put into the form; None for anything else."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _open(
    request: HttpRequest,
    user: User,
    methods: list[str],
    passkey: Passkey | None = None,
) -> Session:
    old = browser_session(request)
    if old is not None:
        sessions.revoke(session=old, visitor=visitor(request))
    # A key that was known before the sign-in must not be worth anything after it.
    request.session.flush()
    login(request, user)
    request.session.set_expiry(int(sessions.ABSOLUTE.total_seconds()))
    return sessions.begin_in_browser(
        user=user,
        browser_key=str(request.session.session_key),
        methods=methods,
        passkey=passkey,
        visitor=visitor(request),
    )


def _leave(session: Session, destination: Destination) -> HttpResponse:
    if not destination.target:
        return redirect(destination.page)
    target = destination.target
    if redirects.wants_token(target):
        token = sessions.access_token(session=session, seconds=REDIRECT_TOKEN_SECONDS)
        target = redirects.with_token(target, token.text)
    response = HttpResponseRedirect(target)
    response["Cache-Control"] = "no-store"
    # Not on the form itself: its POST would come with `Origin: null`, and be refused.
    response["Referrer-Policy"] = "no-referrer"
    return response


def _form(
    request: HttpRequest,
    destination: Destination,
    refusal: DomainError | None = None,
) -> HttpResponse:
    about = {
        "destination": destination,
        "error": refusal.message if refusal else "",
        "creating": request.POST.get("intent") == "create" or "create" in request.GET,
        "email": request.POST.get("email", ""),
    }
    status = 400 if refusal else 200
    response = render(request, "accounts/signin.html", about, status=status)
    if isinstance(refusal, Limited | Unavailable):
        response.status_code = 429 if isinstance(refusal, Limited) else 503
        response["Retry-After"] = str(refusal.retry_after_seconds)
    origin = origins.of(destination.target) if destination.target else None
    response["Content-Security-Policy"] = page_policy(*filter(None, [origin]))
    response["Cache-Control"] = "no-store"
    return response
