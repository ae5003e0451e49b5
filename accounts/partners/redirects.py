"""Validate redirect targets after a sign-in: only registered origins, exactly equal."""

import re
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from django.conf import settings

from accounts.models import App
from accounts.partners import origins

_UNSAFE = re.compile(r"[\x00-\x20\x7f\\\u0080-\U0010ffff]")
_RAW = re.compile(r"[\u0080-\U0010ffff]+")
# Removed from a caller's target: only we may add these parameters.
_OURS = frozenset({"token", "ticket"})


def allowed_url(raw: str) -> str | None:
    """Return `raw` if its origin is ours or a live app's; None if it is not allowed.

    The path is free. The origin must be equal: no wildcard, suffix or relative form.
    `token` and `ticket` are removed, and non-ASCII characters percent-encoded.
    """
    raw = _encoded(raw)
    if not 0 < len(raw) <= origins.LONGEST_URL or _UNSAFE.search(raw):
        return None
    origin = origins.origin_of(raw)
    if origin is None or not _is_registered(origin):
        return None
    return _without_secrets(raw)


def allowed_path(raw: str) -> str | None:
    """Return `raw` if it is a path on this server, else None.

    `//host` is not a path.
    """
    raw = _encoded(raw)
    if not 0 < len(raw) <= origins.LONGEST_URL or _UNSAFE.search(raw):
        return None
    return raw if raw[0] == "/" and raw[1:2] != "/" else None


def frontend_url(raw: object) -> str:
    """Return the front end's URL for `raw`: a path, or a whole URL of its origin.

    For anything else, return its `/auth/callback`. `token`, `ticket` and `error` are
    removed.
    """
    default = f"{settings.FRONTEND_URL}/auth/callback"
    if not isinstance(raw, str):
        return default
    if (path := allowed_path(raw)) is not None:
        # Concatenation is safe: a path with a leading slash cannot change the host.
        raw = f"{settings.FRONTEND_URL}{path}"
    raw = _encoded(raw)
    if not 0 < len(raw) <= origins.LONGEST_URL or _UNSAFE.search(raw):
        return default
    origin = origins.origin_of(raw)
    if origin is None or origin != origins.origin_of(settings.FRONTEND_URL):
        return default
    return _without_secrets(raw, _OURS | {"error"})


def with_token(target: str, token: str) -> str:
    """Return `target` with `token=` as the last query parameter."""
    return with_parameter(target, "token", token)


def with_parameter(target: str, name: str, value: str) -> str:
    """Return `target` with `name=value` as the last query parameter.

    Neither part may need escaping.
    """
    parts = urlsplit(target)
    query = f"{parts.query}&{name}={value}" if parts.query else f"{name}={value}"
    return urlunsplit(parts._replace(query=query))


def wants_token(target: str) -> bool:
    """Return whether the app at this allowed `target` gets `?token=` after a sign-in.

    Always on another site, which our cookie does not reach. On our own site, as the
    app's `redirect_token` says. Never for our own pages, which have the cookie.
    """
    origin = origins.origin_of(target) or ""
    if origins.is_another_site(origin):
        return True
    apps = App.objects.live().filter(origins__contains=[origin])
    settings_of_apps = apps.values_list("redirect_token", flat=True)
    return bool(settings_of_apps) and all(settings_of_apps)


def app_of(target: str) -> App | None:
    """Return the app at this allowed `target`, None for our own pages."""
    if is_first_party(target):
        return None
    return origins.app_of(origins.origin_of(target) or "")


def is_first_party(target: str) -> bool:
    """Return whether this allowed `target` is a page of our own origins."""
    return origins.is_first_party(origins.origin_of(target) or "")


def _encoded(raw: str) -> str:
    """Percent-encode non-ASCII characters as browsers do.

    In a host, the result has no valid origin, so it is refused.
    """
    try:
        return _RAW.sub(lambda found: quote(found[0]), raw)
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8; `_UNSAFE` refuses it.
        return raw


def _is_registered(origin: str) -> bool:
    return origin in origins.ours() or origins.is_registered(origin)


def _without_secrets(url: str, ours: frozenset[str] = _OURS) -> str:
    """Remove our parameters. The rest of the query stays the same, byte by byte."""
    parts = urlsplit(url)
    kept = [
        pair
        for pair in parts.query.split("&")
        if unquote(pair.partition("=")[0].replace("+", " ")) not in ours
    ]
    return urlunsplit(parts._replace(query="&".join(kept)))
