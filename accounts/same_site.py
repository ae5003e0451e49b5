"""CSRF checks: which page made a browser send its session cookie.

The checks read `Origin`, `Sec-Fetch-*` and `Referer`. They answer three questions: may
the page use the cookie, is the page ours, and did the user act on the page? A link or
an image can also cause a request, without any act of the user.
"""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest
from rest_framework.exceptions import PermissionDenied

from accounts.partners import origins

_SAFE = {"GET", "HEAD", "OPTIONS"}
_OURS = ("same-origin", "none")


def cross_site_refusal() -> PermissionDenied:
    """Return the error to raise for a page that may not use the cookie."""
    return PermissionDenied(
        "Another site may not use your browser session here.",
        code="cross_site_request",
    )


def refuse_cross_site(request: HttpRequest) -> None:
    """Raise `PermissionDenied` if another site may have caused this cookie request.

    SameSite=Lax does not suffice. A link from any site carries the cookie, and a
    sibling subdomain can post text/plain with the cookie and without a preflight. A
    request without Origin and Sec-Fetch-Site does not come from a browser, so it
    passes.
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
    # Browsers send Origin with every cross-origin POST.
    if origin is None and site != "same-origin":
        raise cross_site_refusal()
    if origin is not None and not origins.may_use_cookies(origin):
        raise cross_site_refusal()
    empty = meta.get("CONTENT_LENGTH") in (None, "", "0")
    # A chunked body has no length until it is read.
    chunked = "HTTP_TRANSFER_ENCODING" in meta
    if (chunked or not empty) and request.content_type != "application/json":
        raise cross_site_refusal()


def require_first_party(request: HttpRequest) -> None:
    """Apply `refuse_cross_site` and refuse pages of partner apps as well.

    Use it where the cookie is exchanged for tokens of the whole account.
    """
    refuse_cross_site(request)
    origin = request.META.get("HTTP_ORIGIN")
    if origin is not None and not origins.is_first_party(origin):
        raise cross_site_refusal()


def is_first_party_request(meta: Mapping[str, Any]) -> bool:
    """Return whether our own page sent the request, or no page did."""
    site = meta.get("HTTP_SEC_FETCH_SITE", "same-origin")
    origin = meta.get("HTTP_ORIGIN")
    return (origin is None or origin in origins.ours()) and site in _OURS


def may_consent(meta: Mapping[str, Any]) -> bool:
    """Return whether a cookie request can be the user's act on a page that we know.

    Links, mails and pages without CORS can cause navigations and image requests. Those
    have no Origin, so the result is False. Old browsers send neither Origin nor
    Sec-Fetch-Site; their Referer and Accept decide. A request with none of these
    headers does not come from a browser, so the result is True.
    """
    if meta.get("HTTP_ORIGIN") is not None:
        # The caller checks the origin: ours, or that of the app bound to the cookie.
        return True
    site = meta.get("HTTP_SEC_FETCH_SITE")
    if site is not None:
        navigates = meta.get("HTTP_SEC_FETCH_MODE") == "navigate"
        return site == "same-origin" and not navigates
    accepts = meta.get("HTTP_ACCEPT", "")
    if "text/html" in accepts or accepts.startswith(("image/", "text/css")):
        return False
    referer = meta.get("HTTP_REFERER")
    return referer is None or origins.origin_of(referer) in origins.ours()
