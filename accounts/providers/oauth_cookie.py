"""The cookie that binds an OAuth sign-in to the browser that started it.

It prevents login CSRF: an attacker starts a sign-in, keeps the callback URL, and makes
a victim's browser open it. The victim would be signed in to the attacker's account.
"""

import hashlib

from django.conf import settings
from django.http import HttpResponse
from django.http.request import HttpRequest

from accounts.providers.google import LIVES_SECONDS, StartedSignIn


def put(response: HttpResponse, begun: StartedSignIn) -> None:
    """Set the cookie for `begun` until its state expires."""
    _set(response, begun.state, begun.browser, LIVES_SECONDS)


def read(request: HttpRequest, state: str) -> str:
    """Return this browser's secret for `state`, or "" if it did not start that flow."""
    return request.COOKIES.get(_name(state), "")


def drop(response: HttpResponse, state: str) -> None:
    """Delete the cookie for `state`."""
    _set(response, state, "", 0)


def _name(state: str) -> str:
    """Return the cookie's name: one per state, so that two tabs can sign in at once."""
    mark = hashlib.sha256(state.encode()).hexdigest()[:8]
    return f"__Host-focus_oauth_{mark}" if settings.HTTPS else f"focus_oauth_{mark}"


def _set(response: HttpResponse, state: str, value: str, max_age: int) -> None:
    response.set_cookie(
        _name(state),
        value,
        max_age=max_age,
        secure=settings.HTTPS,
        httponly=True,
        # A provider may return by a form (form_post), which is a cross-site POST.
        # Browsers accept None only with Secure.
        samesite="None" if settings.HTTPS else "Lax",
    )
