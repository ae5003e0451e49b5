"""Routes that work with and without a trailing slash."""

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern, path

# Marks the spelling a guide does not use, so the OpenAPI documents leave it out.
ALIAS = "alias"


def either_slash(route: str, view: Callable[..., Any]) -> list[URLPattern]:
    """Return URL patterns of `route` with and without its last slash.

    Both run the view, because a redirect would drop the body of a POST. OpenAPI shows
    the given spelling only.
    """
    other = route[:-1] if route.endswith("/") else f"{route}/"
    return [path(route, view), path(other, view, {}, name=ALIAS)]
