"""Web origins of registered apps: which pages may call us with a user's cookies."""

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
    """The text is no origin, or one that an app may not register."""

    code = "invalid_origin"


def origin_of(url: str) -> str | None:
    """Return an absolute http(s) URL's origin as browsers serialize it, else None.

    None also for a userinfo, a bad port, a host that ends in a dot, and for characters
    that URL parsers treat differently.
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
    """Check an origin before its registration; return it as browsers serialize it.

    Plain http is allowed only if this server is plain http. Our own origins are
    refused: as an app's pages they would lose access to the whole account. Raises
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
    """Raise `OriginTaken` if another app than `app` has one of these origins.

    This only gives a clear error; a database constraint decides races.
    """
    taken = App.objects.filter(origins__overlap=list(wanted))
    if app is not None:
        taken = taken.exclude(pk=app.pk)
    for other in taken:
        origin = next(one for one in wanted if one in other.origins)
        raise OriginTaken(f"{origin} belongs to the app {other.slug}.")


class OriginTaken(DomainError):
    """Another app has registered this origin."""

    code = "origin_taken"


class InvalidRedirectUrl(DomainError):
    """Buyers cannot be redirected to this URL."""

    code = "invalid_redirect_url"


def checked_redirect_url(raw: str) -> str:
    """Check the URL that buyers are redirected to, and return it unchanged.

    It must be https, or in local mode http to this machine. It must have no fragment
    (RFC 6749, 3.1.2) and no `token` parameter, which we add. Raises
    `InvalidRedirectUrl`.
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
    """Return our own origins: the server's and the front end's."""
    found = {origin_of(settings.PUBLIC_BASE_URL), origin_of(settings.FRONTEND_URL)}
    return {origin for origin in found if origin}


def is_first_party(origin: str) -> bool:
    """Return whether this is one of our origins, even if an app has registered it."""
    return origin in ours() or origin in settings.CORS_ALLOWED_ORIGINS


def is_registered(origin: str) -> bool:
    """Return whether a live app has registered exactly this origin. One query."""
    return app_of(origin) is not None


def app_of(origin: str) -> App | None:
    """Return the live app that has registered exactly this origin. One query."""
    if len(origin) > 255 or origin_of(origin) != origin:
        return None
    return App.objects.live().filter(origins__contains=[origin]).first()


def may_use_cookies(origin: str) -> bool:
    """Return whether pages of this origin may send us a user's cookies."""
    return origin in settings.CORS_ALLOWED_ORIGINS or is_registered(origin)


def is_another_site(origin: str) -> bool:
    """Return whether this origin is cross-site, so SameSite=Lax blocks our cookies.

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
