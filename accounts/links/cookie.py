"""The cookie that ties an attempt to link an account to the browser it began in."""

import hashlib
from typing import Any

from django.conf import settings
from django.http.response import HttpResponseBase

from accounts.links import linking

# A top-level GET from the provider's site carries it; no page's own request there does.
_PLACE: dict[str, Any] = {"path": "/", "samesite": "Lax"}


def name(state: str) -> str:
    """One for each attempt, so that two tabs do not undo each other."""
    prefix = "__Host-focus_link_" if settings.HTTPS else "focus_link_"
    return prefix + hashlib.sha256(state.encode()).hexdigest()[:8]


def put(answer: HttpResponseBase, started: linking.LinkRedirect) -> None:
    """Let this browser, and no other, finish what was started."""
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
    answer.delete_cookie(name(state), **_PLACE)
