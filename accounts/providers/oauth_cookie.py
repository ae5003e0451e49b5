"""The cookie that ties a sign-in at a provider to the browser that it began in.

Without it a stranger could begin one, stop before the end, and have somebody else's
browser finish it: that person would be signed in as the stranger.
"""

import hashlib

from django.conf import settings
from django.http import HttpResponse
from django.http.request import HttpRequest

from accounts.providers.google import LIVES_SECONDS, StartedSignIn


def put(response: HttpResponse, begun: StartedSignIn) -> None:
    _set(response, begun.state, begun.browser, LIVES_SECONDS)


def read(request: HttpRequest, state: str) -> str:
    """What this browser was given when `state` was begun in it; "" if it was not."""
    return request.COOKIES.get(_name(state), "")


def drop(response: HttpResponse, state: str) -> None:
    _set(response, state, "", 0)


def _name(state: str) -> str:
    """One for each state: two tabs may sign in at once."""
    mark = hashlib.sha256(state.encode()).hexdigest()[:8]
    return f"__Host-focus_oauth_{mark}" if settings.HTTPS else f"focus_oauth_{mark}"


def _set(response: HttpResponse, state: str, value: str, max_age: int) -> None:
    response.set_cookie(
        _name(state),
        value,
        max_age=max_age,
        secure=settings.HTTPS,
        httponly=True,
        # A provider may come back by a form, which is a cross-site POST; and browsers
        # take None only with Secure.
        samesite="None" if settings.HTTPS else "Lax",
    )
