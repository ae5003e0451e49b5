"""The cookie that binds an account-linking attempt to the browser that started it."""

import hashlib
from typing import Any

from django.conf import settings
from django.http.response import HttpResponseBase

from accounts.links import linking

# SameSite=Lax: the provider's top-level redirect sends it, its pages' requests do not.
_PLACE: dict[str, Any] = {"path": "/", "samesite": "Lax"}


def name(state: str) -> str:
    """Return the cookie's name: one per attempt, so that two tabs do not interfere."""
    prefix = "__Host-focus_link_" if settings.HTTPS else "focus_link_"
    return prefix + hashlib.sha256(state.encode()).hexdigest()[:8]


def put(answer: HttpResponseBase, started: linking.LinkRedirect) -> None:
    """Set the cookie that `linking.take_state` requires from this browser."""
    answer.headers["Cache-Control"] = "no-store"
    answer.set_cookie(
        name(started.state),
        started.binder,
        max_age=linking.STATE_SECONDS,
        httponly=True,
        secure=settings.HTTPS,
        **_PLACE,
    )


def drop(answer: HttpResponseBase, state: str) -> None:
    """Delete the cookie of a finished attempt."""
    answer.delete_cookie(name(state), **_PLACE)
