"""Routes that answer with and without a trailing slash."""

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern, path

# Marks the spelling a guide does not use, so the OpenAPI documents leave it out.
ALIAS = "alias"


def either_slash(route: str, view: Callable[..., Any]) -> list[URLPattern]:
    """`route` as its guide spells it, and the other spelling: a POST can't redirect."""
    other = route[:-1] if route.endswith("/") else f"{route}/"
    return [path(route, view), path(other, view, {}, name=ALIAS)]
