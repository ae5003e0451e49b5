"""The person of a browser session, and decorators for pages that need one."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec
from urllib.parse import urlencode, urlsplit, urlunsplit

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts.authentication import browser_session
from accounts.credentials import proofs
from accounts.credentials.principals import TokenEnded
from accounts.models import User
from accounts.partners import origins, redirects
from focus.errors import NotFound

P = ParamSpec("P")


def person(request: HttpRequest) -> User | None:
    """Return the person of the browser's live session, or None."""
    session = browser_session(request)
    return session.user if session else None


class SignInAgain(Exception):
    """The sign-in is too old; `signed_in` redirects to the sign-in page and back."""


def require_second_proof(request: HttpRequest) -> None:
    """Require a recent second proof before a change of who may act for the account.

    Raises `SignInAgain` if the sign-in is too old, `SecondProofRequired` if it was too
    weak, and `TokenEnded` if the session has ended.
    """
    session = browser_session(request)
    if session is None:
        raise TokenEnded("You were signed out just now.")
    try:
        proofs.require_second_proof(session=session)
    except proofs.ProofTooOld:
        raise SignInAgain from None


def signed_in(
    page: Callable[Concatenate[HttpRequest, User, P], HttpResponse],
) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
    """Pass the signed-in person to `page`; redirect others to the sign-in and back."""

    @wraps(page)
    def view(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        user = person(request)
        if user is None:
            return redirect(f"/signin?{urlencode({'next': _form_page(request)})}")
        try:
            return page(request, user, *args, **kwargs)
        except SignInAgain:
            parameters = {"again": "1", "next": _form_page(request)}
            return redirect(f"/signin?{urlencode(parameters)}")

    return view


def _form_page(request: HttpRequest) -> str:
    """Return the path of this page, or of the page with the form that was sent.

    The referrer names the page of a form. Another origin's or none gives "/".
    """
    if request.method in ("GET", "HEAD"):
        return request.get_full_path()
    came = request.META.get("HTTP_REFERER", "")
    if origins.origin_of(came) in origins.ours():
        parts = urlsplit(came)
        return redirects.allowed_path(urlunsplit(("", "", *parts[2:]))) or "/"
    return "/"


def owners(
    page: Callable[Concatenate[HttpRequest, User, P], HttpResponse],
) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
    """Like `signed_in`; a row of another account is a 404."""

    @wraps(page)
    def view(
        request: HttpRequest, user: User, *args: P.args, **kwargs: P.kwargs
    ) -> HttpResponse:
        try:
            return page(request, user, *args, **kwargs)
        except NotFound:
            raise Http404 from None

    return signed_in(view)
