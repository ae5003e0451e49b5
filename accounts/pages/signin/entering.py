"""The end of every sign-in on our pages: a browser session, then a redirect."""

from dataclasses import dataclass
from typing import cast
from urllib.parse import urlencode

from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect

from accounts.authentication import browser_session, visitor
from accounts.credentials.principals import Principal, TokenEnded
from accounts.models import Passkey, Session, User
from accounts.partners import consents, origins, redirects
from accounts.signin import bound_tokens, sessions

# Guide 1A: "your landing URL may include a `token`". The redirect takes seconds.
REDIRECT_TOKEN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Destination:
    """The address after the sign-in: an app's (`target`) or a page of ours."""

    target: str = ""
    page: str = "/"

    @property
    def query(self) -> str:
        """The query string with which /signin keeps this destination."""
        if self.target:
            return urlencode({"redirect_to": self.target})
        return urlencode({"next": self.page}) if self.page != "/" else ""

    @property
    def of_an_app(self) -> bool:
        """Whether the target belongs to a registered app."""
        return bool(self.target) and redirects.app_of(self.target) is not None

    @property
    def app(self) -> str:
        """The host of the target, which the sign-in page shows."""
        return (origins.origin_of(self.target) or "").partition("://")[2]


def destination(redirect_to: str | None, next_page: str | None) -> Destination | None:
    """Return the destination, or None for a target that is not registered."""
    if redirect_to is None:
        return Destination(page=redirects.allowed_path(next_page or "") or "/")
    target = redirects.allowed_url(redirect_to)
    return Destination(target=target) if target else None


def open_session(
    request: HttpRequest,
    user: User,
    methods: list[str],
    passkey: Passkey | None = None,
) -> Session:
    """Sign `user` in on this browser and return the session.

    Revokes the browser's old session. Raises `TokenEnded` if the account's sessions
    ended during the sign-in.
    """
    old = browser_session(request)
    if old is not None:
        sessions.revoke(session=old, visitor=visitor(request))
    # Session fixation: an attacker may know the key from before the sign-in.
    request.session.flush()
    login(request, user)
    request.session.set_expiry(int(sessions.ABSOLUTE.total_seconds()))
    try:
        return sessions.begin_in_browser(
            user=user,
            browser_key=str(request.session.session_key),
            methods=methods,
            passkey=passkey,
            visitor=visitor(request),
        )
    except TokenEnded:
        # The sign-in was refused, so Django's session must end too.
        request.session.flush()
        raise


def leave(session: Session, goal: Destination) -> HttpResponse:
    """Redirect to `goal`, with a token if its app wants one.

    A revoked app is asked about first.
    """
    if not goal.target:
        return redirect(goal.page)
    target = goal.target
    app = redirects.app_of(target)
    if app is None and not redirects.is_first_party(target):
        return _app_gone()
    if app is not None and consents.is_revoked(user=session.user, app_id=app.pk):
        # The sign-in page asks whether to allow the app again.
        return redirect(f"/signin?{goal.query}")
    if redirects.wants_token(target):
        token = sessions.access_token(
            session=session,
            seconds=REDIRECT_TOKEN_SECONDS,
            azp=app.slug if app else "",
        )
        target = redirects.with_token(target, token.text)
    return _redirect_without_referrer(target)


def may_pass_on(guest: Principal, goal: Destination) -> bool:
    """Return whether Clerk's sign-in is enough for this app.

    A token of another app is not. Support staff who impersonate a person get no token
    of ours, because it would not name them.
    """
    if not goal.target:
        return False
    app = redirects.app_of(goal.target)
    if guest.bound_to not in (None, app):
        return False
    return not guest.read_only or app is None or guest.bound_to == app


def pass_on(request: HttpRequest, guest: Principal, goal: Destination) -> HttpResponse:
    """Redirect a person signed in by Clerk to the app, with a token bound to the app.

    The token is Clerk's own if Clerk issued it for the app's page.
    """
    target = goal.target
    app = redirects.app_of(target)
    if app is None and not redirects.is_first_party(target):
        return _app_gone()
    if redirects.wants_token(target):
        text = guest.token
        if app is not None and guest.bound_to != app:
            text = bound_tokens.issue_clerk_token(
                user=cast(User, guest.user),
                app=app,
                seconds=REDIRECT_TOKEN_SECONDS,
                visitor=visitor(request),
            ).text
        target = redirects.with_token(target, text)
    return _redirect_without_referrer(target)


def _app_gone() -> HttpResponse:
    """Redirect to / because the app was disabled or lost its origin during the sign-in.

    A token for it could not be bound to an app, so it would open the whole account.
    """
    return redirect("/")


def _redirect_without_referrer(target: str) -> HttpResponse:
    response = HttpResponseRedirect(target)
    response["Cache-Control"] = "no-store"
    # The form itself must not set this: its POST would have `Origin: null`, and CSRF
    # protection would refuse that.
    response["Referrer-Policy"] = "no-referrer"
    return response
