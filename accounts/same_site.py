"""Which page made a browser send its cookie, as far as the browser says.

Three answers matter: whether a page may use the cookie at all, whether it is a page of
ours, and whether the person's own act there asked, or only a link or an image.
"""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest
from rest_framework.exceptions import PermissionDenied

from accounts.partners import origins

_SAFE = {"GET", "HEAD", "OPTIONS"}
_OURS = ("same-origin", "none")


def cross_site_refusal() -> PermissionDenied:
    return PermissionDenied(
        "Another site may not use your browser session here.",
        code="cross_site_request",
    )


def refuse_cross_site(request: HttpRequest) -> None:
    """Refuse what another site may have made a person's browser send.

    SameSite=Lax lets a link from anywhere carry the cookie, and a sibling subdomain may
    post text/plain with it and no preflight. A request without Origin and
    Sec-Fetch-Site comes from no browser, so no page made it.
    """
    meta = request.META
    site = meta.get("HTTP_SEC_FETCH_SITE")
    if request.method in _SAFE:
        if site == "cross-site":
            raise cross_site_refusal()
        return
    origin = meta.get("HTTP_ORIGIN")
    if origin is None and site is None:
        return
    if site not in (None, "same-origin", "same-site"):
        raise cross_site_refusal()
    # A browser names the origin of every page that posts to another origin.
    if origin is None and site != "same-origin":
        raise cross_site_refusal()
    if origin is not None and not origins.may_use_cookies(origin):
        raise cross_site_refusal()
    empty = meta.get("CONTENT_LENGTH") in (None, "", "0")
    # A body in chunks has no length until it is read.
    chunked = "HTTP_TRANSFER_ENCODING" in meta
    if (chunked or not empty) and request.content_type != "application/json":
        raise cross_site_refusal()


def require_first_party(request: HttpRequest) -> None:
    """As `refuse_cross_site`, and no page of an app either.

    For a cookie that is exchanged for tokens of the whole account.
    """
    refuse_cross_site(request)
    origin = request.META.get("HTTP_ORIGIN")
    if origin is not None and not origins.is_first_party(origin):
        raise cross_site_refusal()


def is_first_party_request(meta: Mapping[str, Any]) -> bool:
    """Whether our own page asks, or no page at all."""
    site = meta.get("HTTP_SEC_FETCH_SITE", "same-origin")
    origin = meta.get("HTTP_ORIGIN")
    return (origin is None or origin in origins.ours()) and site in _OURS


def may_consent(meta: Mapping[str, Any]) -> bool:
    """Whether a cookie's request can be a person's act on a page that we know.

    False for a navigation, an image and everything else that a link, a mail or a page
    without CORS can cause: those come without an Origin. Browsers that send neither
    Origin nor Sec-Fetch-Site are told by their Referer and by what they accept; what
    says nothing at all is no browser.
    """
    if meta.get("HTTP_ORIGIN") is not None:
        return (
            True  # Checked by itself: ours, or the app's that the cookie is bound to.
        )
    site = meta.get("HTTP_SEC_FETCH_SITE")
    if site is not None:
        navigates = meta.get("HTTP_SEC_FETCH_MODE") == "navigate"
        return site == "same-origin" and not navigates
    accepts = meta.get("HTTP_ACCEPT", "")
    if "text/html" in accepts or accepts.startswith(("image/", "text/css")):
        return False
    referer = meta.get("HTTP_REFERER")
    return referer is None or origins.origin_of(referer) in origins.ours()
