"""reviv's cookie `reviv_refresh`: the refresh token, unreadable by scripts."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from accounts.signin.sessions import SessionTokens
from focus.errors import DomainError

NAME = "reviv_refresh"
PATH = "/api/auth/"


class AmbiguousCookie(DomainError):
    """The browser sent two refresh cookies; a sibling subdomain can plant one.

    We cannot tell them apart, so we use neither. We do not delete ours either, because
    the planted one would remain.
    """

    code = "invalid_refresh"


def read(request: HttpRequest) -> str | None:
    """Return the refresh token of the cookie, None without one.

    Raises `AmbiguousCookie`.
    """
    # Read the raw header: of two cookies Django keeps only the last, the planted one.
    parts = request.META.get("HTTP_COOKIE", "").split(";")
    names = [part.partition("=")[0].strip() for part in parts]
    if names.count(NAME) > 1:
        raise AmbiguousCookie("There are two refresh cookies. Please sign in again.")
    return request.COOKIES.get(NAME) or None


def put(response: HttpResponse, tokens: SessionTokens) -> None:
    """Set the cookie for as long as the session may be idle."""
    session = tokens.session
    idle = session.idle_expires_at - session.last_used_at
    _set(response, tokens.refresh_token, int(idle.total_seconds()))


def drop(response: HttpResponse) -> None:
    """Delete the cookie."""
    _set(response, "", 0)


def _set(response: HttpResponse, value: str, max_age: int) -> None:
    # A browser deletes a cookie only with the attributes that it was set with.
    response.set_cookie(
        NAME,
        value,
        max_age=max_age,
        path=PATH,
        secure=settings.HTTPS,
        httponly=True,
        samesite="Lax",
    )
