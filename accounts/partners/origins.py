"""Origins of registered apps: which web pages may call us with a person's cookies."""

import re
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings

from accounts.models import App
from focus.errors import DomainError

LONGEST_URL = 2048
_PORTS = {"https": 443, "http": 80}
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
_NOT_IN_A_URL = re.compile(r"[\x00-\x20\x7f\\\u0080-\U0010ffff]")


class InvalidOrigin(DomainError):
    code = "invalid_origin"


def origin_of(url: str) -> str | None:
    """The origin of an absolute http(s) URL as a browser would send it, else None.

    None also for a userinfo, a bad port, a name that ends in a dot, and any character
    that one parser skips and another does not.
    """
    if _NOT_IN_A_URL.search(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname
    if parts.scheme not in _PORTS or not host or "@" in parts.netloc:
        return None
    if not _HOST.fullmatch(host) or host.endswith("."):
        return None
    host = f"[{host}]" if ":" in host else host
    plain = port in (None, _PORTS[parts.scheme])
    return f"{parts.scheme}://{host}" if plain else f"{parts.scheme}://{host}:{port}"


def checked_origin(raw: str) -> str:
    """Check an origin that is to be registered for an app; spell it as browsers do.

    Plain http is only for a server that is itself plain http. An origin of our own is
    refused: its pages would lose the power over the whole account. Raises
    `InvalidOrigin`.
    """
    origin = origin_of(raw)
    if origin is None or len(origin) > 255 or not _is_bare(raw):
        raise InvalidOrigin(
            f"{raw!r} is not an origin such as https://video.example.com."
        )
    if origin.startswith("http:") and settings.HTTPS:
        raise InvalidOrigin(f"{raw!r} must use https.")
    if is_first_party(origin):
        raise InvalidOrigin(f"{raw!r} is an origin of Focus itself.")
    return origin


def require_free(wanted: Sequence[str], *, app: App | None = None) -> None:
    """Raise `OriginTaken` where another app than `app` has one of these origins.

    For a clear answer only: the database refuses a second app in any race.
    """
    taken = App.objects.filter(origins__overlap=list(wanted))
    if app is not None:
        taken = taken.exclude(pk=app.pk)
    for other in taken:
        origin = next(one for one in wanted if one in other.origins)
        raise OriginTaken(f"{origin} belongs to the app {other.slug}.")


class OriginTaken(DomainError):
    code = "origin_taken"


class InvalidRedirectUrl(DomainError):
    code = "invalid_redirect_url"


def checked_redirect_url(raw: str) -> str:
    """Check an address that buyers are to be sent to; it is kept as it was written.

    https only, or http to this machine in local mode. Without a fragment (RFC 6749,
    3.1.2) and without a `token`, which we put there. Raises `InvalidRedirectUrl`.
    """
    origin = origin_of(raw)
    if origin is None or len(raw) > LONGEST_URL or "#" in raw:
        raise InvalidRedirectUrl(
            f"{raw[:200]!r} is not an address such as https://your-tool.com/callback."
        )
    if not origin.startswith("https:") and not (settings.LOCAL and _is_here(origin)):
        raise InvalidRedirectUrl(f"{raw[:200]!r} must use https.")
    if "token" in dict(parse_qsl(urlsplit(raw).query, keep_blank_values=True)):
        raise InvalidRedirectUrl("The address must not have a token of its own.")
    return raw


def _is_here(origin: str) -> bool:
    return urlsplit(origin).hostname in ("localhost", "127.0.0.1", "::1")


def _is_bare(url: str) -> bool:
    parts = urlsplit(url)
    return parts.path in ("", "/") and not parts.query and not parts.fragment


def ours() -> set[str]:
    """The origins that are Focus itself: the server's and the front end's."""
    found = {origin_of(settings.PUBLIC_BASE_URL), origin_of(settings.FRONTEND_URL)}
    return {origin for origin in found if origin}


def is_first_party(origin: str) -> bool:
    """Whether pages of this origin are Focus itself, even if an app registered it."""
    return origin in ours() or origin in settings.CORS_ALLOWED_ORIGINS


def is_registered(origin: str) -> bool:
    """Whether a live app registered exactly this origin: one query."""
    return app_of(origin) is not None


def app_of(origin: str) -> App | None:
    """The live app that registered exactly this origin: one query."""
    if len(origin) > 255 or origin_of(origin) != origin:
        return None
    return App.objects.live().filter(origins__contains=[origin]).first()


def may_use_cookies(origin: str) -> bool:
    """Whether pages of this origin may send us a person's cookies."""
    return origin in settings.CORS_ALLOWED_ORIGINS or is_registered(origin)


def is_another_site(origin: str) -> bool:
    """Whether browsers keep our cookies from pages of this origin (SameSite=Lax).

    A site is our scheme and our host's parent domain: account.example.com and
    video.example.com are one. A host without a parent is a site of its own.
    """
    mine, theirs = urlsplit(settings.PUBLIC_BASE_URL), urlsplit(origin)
    if mine.scheme != theirs.scheme:
        return True
    host, other = mine.hostname or "", theirs.hostname or ""
    _, _, parent = host.partition(".")
    named = "." in parent and not parent.rsplit(".", 1)[-1].isdigit()
    if not named:
        return other != host and not other.endswith(f".{host}")
    return other != parent and not other.endswith(f".{parent}")
