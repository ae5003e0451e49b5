"""What every answer carries: an id, the security headers, and a clean 503."""

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

# The promise of CONTRACTS 0: the caller's own id comes back if it looks like this.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,128}")


class RequestId:
    """X-Request-ID on every answer, and the same id on every log line meanwhile."""

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
        # Known now and not at the web server, which would fall back to chunks.
        if isinstance(response, HttpResponse) and response.status_code != 204:
            headers["Content-Length"] = str(len(response.content))
        return response


class RateLimits:
    """Says on every answer of a contract's path what is left, whoever made it.

    What no view has counted counts against its address here: a stray path, a wrong
    method, an unreadable request.
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
        """Refuse a form whose limit is spent before the CSRF check reads it."""
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
            # That something broke is the news, and not whether it may be asked again.
            if problem is not None and response.status_code < 500:
                refused = fallback.answer(request, problem)
                for name, value in response.headers.items():
                    refused.headers.setdefault(name, value)
                return refused
        return response


API_POLICY = "default-src 'none'; frame-ancestors 'none'"
# The admin's theme runs on Alpine, which compiles attributes with `new Function`
# and writes inline styles. Nothing inline that is a script, in any policy.
ADMIN_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def page_policy(*form_targets: str) -> str:
    """The policy of our own pages. A form that ends in a redirect to another origin
    needs that origin named: browsers apply form-action to the redirect as well.
    """
    targets = " ".join(("'self'", *form_targets))
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
        f"form-action {targets}; frame-ancestors 'none'"
    )


PAGE_POLICY = page_policy()
PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
# Health checks come from inside, by whatever name the container has.
_ANY_HOST = {"/health", "/health/", "/api/health", "/api/health/"}


class SecurityHeaders:
    """Refuses an unknown Host, and tells browsers to trust as little as works.

    A view may set a header of its own; these are only the defaults.
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
    """Give an answer from `path` the headers that it does not have yet."""
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
    """Refuses U+0000 wherever a request may hold it: PostgreSQL's text has none.

    Path, query, headers and cookies (quoted ones have octal escapes) are checked here,
    and the forms of pages. A contract's bodies are checked by its parsers, which read
    them after the caller is known.
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
    # An uploaded file: its name and type are the client's words.
    said = (getattr(value, "name", ""), getattr(value, "content_type", ""))
    return any("\x00" in word for word in said if word)


class WrongMethod:
    """Gives a page's 405 a body. Django's has none, and browsers then show an error of
    their own: a reload after a form, or an address typed by hand, would end there.
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
    """Turns a lost database into a 503 that says so, where a page's view met it.

    API views answer by themselves; what middleware meets ends in `handler500`, which
    looks for the same two errors.
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
