"""Middleware for every response: request id, rate limits, security headers, 503."""

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from django.core.exceptions import DisallowedHost
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from rest_framework.exceptions import ValidationError

from focus import logs
from focus.contracts import Contract
from focus.limiting import limits
from focus.web import fallback

Next = Callable[[HttpRequest], HttpResponseBase]

# Contracts, section 0: a caller's own id of this form is returned.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,128}")


class RequestId:
    """Sets X-Request-ID on every response, and the same id on all its log lines."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        theirs = request.META.get("HTTP_X_REQUEST_ID", "")
        ours = theirs if _REQUEST_ID.fullmatch(theirs) else os.urandom(16).hex()
        request.request_id = ours  # type: ignore[attr-defined]  # for focus.logs
        before = logs.request_id.set(ours)
        try:
            response = self.get_response(request)
        finally:
            logs.request_id.reset(before)
        headers = response.headers
        headers["X-Request-ID"] = ours
        # The web server does not know the length, and would send the body chunked.
        if isinstance(response, HttpResponse) and response.status_code not in (
            204,
            304,
        ):
            headers["Content-Length"] = str(len(response.content))
        return response


class RateLimits:
    """Sets the rate limit headers on every response of a contract's path.

    A failed request that no view counted counts for its address here: an unknown path,
    a wrong method, an unreadable request.
    """

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        contract = fallback.contract_of(request.path)
        if contract is None:
            return self.get_response(request)
        tally = limits.tally_of(request)
        response = self.get_response(request)
        if not (tally.counted or tally.unlimited) and response.status_code >= 400:
            response = self._count(request, response, contract)
        standing = tally.tightest()
        headers = response.headers
        for name, value in contract.limit_headers(standing).items():
            headers.setdefault(name, value)
        if response.status_code == 429:
            headers.setdefault("Retry-After", str(standing.wait_seconds))
        return response

    def process_view(
        self, request: HttpRequest, view: object, _args: object, _kwargs: object
    ) -> HttpResponseBase | None:
        """Refuse a form above its rate limit, before the CSRF check reads the body."""
        policies = getattr(view, "refuses_unread", ())
        if request.method != "POST" or not policies:
            return None
        try:
            limits.tally_of(request).look(policies)
        except limits.Limited as spent:
            return fallback.refused(request, spent)
        return None

    def _count(
        self, request: HttpRequest, response: HttpResponseBase, contract: type[Contract]
    ) -> HttpResponseBase:
        tally = limits.tally_of(request)
        tally.slug = contract.slug
        try:
            tally.count((limits.GENERAL,))
        except limits.Limited as spent:
            problem = Contract.problem(spent)
            # A 5xx stays: a 429 would hide that the server failed.
            if problem is not None and response.status_code < 500:
                refused = fallback.answer(request, problem)
                for name, value in response.headers.items():
                    refused.headers.setdefault(name, value)
                return refused
        return response


API_POLICY = "default-src 'none'; frame-ancestors 'none'"
# The admin's theme uses Alpine, which compiles attributes with `new Function` and
# writes inline styles. No policy allows inline scripts.
ADMIN_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def page_policy(*form_targets: str) -> str:
    """Return the Content-Security-Policy of our HTML pages.

    `form_targets` are the origins that a form may redirect to: browsers apply
    form-action to redirects as well.
    """
    targets = " ".join(("'self'", *form_targets))
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
        f"form-action {targets}; frame-ancestors 'none'"
    )


PAGE_POLICY = page_policy()
PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
# Health checks come from inside, under any host name that the container has.
_ANY_HOST = {"/health", "/health/", "/api/health", "/api/health/"}


class SecurityHeaders:
    """Refuses an unknown Host, and sets strict security headers.

    A view may set a policy of its own; these are the defaults.
    """

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._answer(request)
        harden(request.path, response)
        return response

    def _answer(self, request: HttpRequest) -> HttpResponseBase:
        try:
            request.get_host()
        except DisallowedHost as unknown:
            if request.path not in _ANY_HOST:
                return fallback.bad_request(request, unknown)
        return self.get_response(request)


def harden(path: str, response: HttpResponseBase) -> None:
    """Set the security headers of a response from `path`.

    A Content-Security-Policy or Cache-Control that the view set stays.
    """
    headers = response.headers
    headers["X-Frame-Options"] = "DENY"
    headers.setdefault("Cache-Control", "no-store")
    if "Content-Security-Policy" not in headers:
        headers["Content-Security-Policy"] = _policy(path, headers)
    headers["Permissions-Policy"] = PERMISSIONS


def _policy(path: str, headers: Mapping[str, str]) -> str:
    if headers.get("Content-Type") == "application/json":
        return API_POLICY
    return ADMIN_POLICY if path.startswith("/admin/") else PAGE_POLICY


class RefuseNul:
    """Refuses U+0000 anywhere in a request, because PostgreSQL's text cannot hold it.

    Checks path, query, headers and cookies (quoted ones have octal escapes), and the
    forms of pages. Contracts check JSON bodies in their parsers, after authentication.
    """

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        meta = request.META
        if (
            "%00" in meta.get("QUERY_STRING", "")
            or any("\x00" in value for value in meta.values() if type(value) is str)
            or ("\\" in meta.get("HTTP_COOKIE", "") and _holds_nul(request.COOKIES))
        ):
            return fallback.bad_request(request, NUL)
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, _view: object, _args: object, _kwargs: object
    ) -> HttpResponseBase | None:
        if request.method != "POST" or fallback.contract_of(request.path):
            return None
        forms = (request.POST, request.FILES)
        if any(_holds_nul(dict(form.lists())) for form in forms):
            return fallback.bad_request(request, NUL)
        return None


NUL = ValidationError("U+0000 is not allowed in text.")


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(_holds_nul(key) or _holds_nul(item) for key, item in value.items())
    if isinstance(value, list):
        return any(map(_holds_nul, value))
    # An uploaded file: the client chooses its name and type.
    texts = (getattr(value, "name", ""), getattr(value, "content_type", ""))
    return any("\x00" in text for text in texts if text)


class WrongMethod:
    """Gives the 405 of a page a body.

    Django's 405 has none, so browsers show an error of their own, for example after the
    user types the address of a form's target.
    """

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if not isinstance(response, HttpResponseNotAllowed) or response.content:
            return response
        if fallback.contract_of(request.path) is not None:
            return response
        page = fallback.page(fallback.WRONG_METHOD)
        page.headers["Allow"] = response.headers["Allow"]
        return page


class DatabaseGone:
    """Turns a lost database in the view of a page into a 503.

    API views return their own 503. Errors of middleware reach `handler500`, which looks
    for the same two exceptions.
    """

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponseBase | None:
        if isinstance(exception, OperationalError | InterfaceError):
            return fallback.unavailable(request, exception)
        return None
