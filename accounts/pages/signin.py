"""/signin and /signout: the shared sign-in that apps send their people to."""

from dataclasses import dataclass
from urllib.parse import urlencode

from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts import origins, passwords, redirects, sessions
from accounts.authentication import browser_session, visitor
from accounts.models import Session, User
from focus.errors import DomainError
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
    email, password = request.POST.get("email", ""), request.POST.get("password", "")
    creating = request.POST.get("intent") == "create"
    enter = passwords.register if creating else passwords.authenticate
    try:
        user = enter(email=email, password=password, visitor=visitor(request))
    except DomainError as refusal:
        return _form(request, destination, refusal.message, creating, email)
    return _leave(_open(request, user), destination)


def _open(request: HttpRequest, user: User) -> Session:
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
        methods=["pwd"],
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
    error: str = "",
    creating: bool = False,
    email: str = "",
) -> HttpResponse:
    about = {
        "destination": destination,
        "error": error,
        "creating": creating or "create" in request.GET,
        "email": email,
    }
    status = 400 if error else 200
    response = render(request, "accounts/signin.html", about, status=status)
    origin = origins.of(destination.target) if destination.target else None
    response["Content-Security-Policy"] = page_policy(*filter(None, [origin]))
    response["Cache-Control"] = "no-store"
    return response
