"""reviv's cookie `reviv_refresh`: the refresh token where no script can read it."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from accounts.signin.sessions import SessionTokens
from focus.errors import DomainError

NAME = "reviv_refresh"
PATH = "/api/auth/"


class AmbiguousCookie(DomainError):
    """The browser sent two. A sibling subdomain can plant one, and neither is ours
    to choose; nor to delete, as the planted one would be what is left.
    """

    code = "invalid_refresh"


def read(request: HttpRequest) -> str | None:
    """The refresh token that the browser sent, if it sent exactly one."""
    # Django keeps the last of two cookies, which is the planted one.
    parts = request.META.get("HTTP_COOKIE", "").split(";")
    names = [part.partition("=")[0].strip() for part in parts]
    if names.count(NAME) > 1:
        raise AmbiguousCookie("There are two refresh cookies. Please sign in again.")
    return request.COOKIES.get(NAME) or None


def put(response: HttpResponse, tokens: SessionTokens) -> None:
    """Let the browser keep the token for as long as the sign-in may lie idle."""
    session = tokens.session
    idle = session.idle_expires_at - session.last_used_at
    _set(response, tokens.refresh_token, int(idle.total_seconds()))


def drop(response: HttpResponse) -> None:
    _set(response, "", 0)


def _set(response: HttpResponse, value: str, max_age: int) -> None:
    # A browser deletes a cookie only by the attributes that it was set with.
    response.set_cookie(
        NAME,
        value,
        max_age=max_age,
        path=PATH,
        secure=settings.HTTPS,
        httponly=True,
        samesite="Lax",
    )
