"""Who is looking at a page."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts import proofs
from accounts.authentication import browser_session
from accounts.models import User
from accounts.principals import TokenEnded
from focus.errors import NotFound

P = ParamSpec("P")


def person(request: HttpRequest) -> User | None:
    """The person behind the browser's session, while that session lives."""
    session = browser_session(request)
    return session.user if session else None


def require_second_proof(request: HttpRequest) -> None:
    """For what adds a way to act for the account. Raises `SecondProofRequired`, and
    `TokenEnded` where nobody is signed in any more.
    """
    session = browser_session(request)
    if session is None:
        raise TokenEnded("You were signed out just now.")
    proofs.require_second(session=session)


def signed_in(
    page: Callable[Concatenate[HttpRequest, User, P], HttpResponse],
) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
    """Give the page its person; a stranger signs in first and comes back."""

    @wraps(page)
    def view(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        user = person(request)
        if user is None:
            back = request.get_full_path() if request.method == "GET" else "/"
            return redirect(f"/signin?{urlencode({'next': back})}")
        return page(request, user, *args, **kwargs)

    return view


def owners(
    page: Callable[Concatenate[HttpRequest, User, P], HttpResponse],
) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
    """A page about somebody's own: what is not theirs is not there."""

    @wraps(page)
    def view(
        request: HttpRequest, user: User, *args: P.args, **kwargs: P.kwargs
    ) -> HttpResponse:
        try:
            return page(request, user, *args, **kwargs)
        except NotFound:
            raise Http404 from None

    return signed_in(view)
