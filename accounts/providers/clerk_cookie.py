"""Clerk's cookie `__session`, which clerk-js sets on the parent domain."""

import base64
import hashlib
from functools import lru_cache

from django.conf import settings
from django.http import HttpRequest

NAME = "__session"


def read(request: HttpRequest) -> str | None:
    """Return the session token in the Cookie header, or None without exactly one.

    The cookie with our publishable key's suffix goes first, because another Clerk
    application on the domain may set the plain one. This reads the raw header: a
    sibling subdomain can plant a second cookie of the same name, and Django keeps the
    last.
    """
    parts = request.META.get("HTTP_COOKIE", "").split(";")
    pairs = [[side.strip() for side in part.split("=", 1)] for part in parts]
    for wanted in _names(settings.CLERK_PUBLISHABLE_KEY):
        values = [pair[-1] for pair in pairs if pair[0] == wanted]
        if values:
            return values[0] if len(values) == 1 and values[0] else None
    return None


@lru_cache(maxsize=4)
def _names(publishable_key: str) -> list[str]:
    if not publishable_key:
        return [NAME]
    # The same suffix that clerk-js computes.
    digest = hashlib.sha1(publishable_key.encode(), usedforsecurity=False).digest()
    return [f"{NAME}_{base64.urlsafe_b64encode(digest).decode()[:8]}", NAME]
