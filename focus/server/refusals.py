"""Responses that no view writes: for bad heads, slow bodies and too many requests.

Each is JSON in the contract of its path. Outside the guides' paths it is an HTML page,
except for a head that no browser sends: that is refused in JSON, too.
"""

from collections.abc import Iterable
from typing import Any, cast

from django.http import HttpRequest, HttpResponse
from django.middleware.security import SecurityMiddleware

from focus.bodies.unread import TooBusy, TooSlow, Unread
from focus.contracts import BAD_REQUEST, TOO_SLOW, Problem
from focus.contracts import BUSY as BUSY
from focus.contracts import SERVER_ERROR as SERVER_ERROR
from focus.contracts.thefocus import TheFocus
from focus.limiting import limits
from focus.web import fallback, middleware

MOST_TARGET_BYTES = 8 * 1024
MOST_HEADER_BYTES = 32 * 1024
MOST_HEADERS = 100

MALFORMED = BAD_REQUEST
URI_TOO_LONG = Problem(414, "uri_too_long", "The address is too long.")
HEAD_TOO_LARGE = Problem(431, "headers_too_large", "The headers are too large.")
TOO_MANY_CONNECTIONS = Problem(
    429,
    "too_many_connections",
    "Too many connections are open from your address. Close some of them.",
    headers={"Retry-After": "1"},
)
_OF_PROGRAMS = {400, 414, 431}


def problem_of_head(scope: Any) -> Problem | None:
    """Return the problem of a request line or headers that are too long, else None."""
    if len(scope["raw_path"]) + len(scope["query_string"]) > MOST_TARGET_BYTES:
        return URI_TOO_LONG
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    sizes = [len(name) + len(value) for name, value in headers]
    if len(sizes) > MOST_HEADERS or sum(sizes) > MOST_HEADER_BYTES:
        return HEAD_TOO_LARGE
    return None


def problem_of_body(unread: Unread | None) -> Problem | None:
    """Return the problem of a body that the server stopped reading, else None."""
    if isinstance(unread, TooSlow):
        return TOO_SLOW
    return BUSY if isinstance(unread, TooBusy) else None


def answer(problem: Problem, path: str, request_id: str = "") -> HttpResponse:
    """Build the response of `problem`, with all headers of ours. Runs no query."""
    request = HttpRequest()
    request.path = request.path_info = path
    request.META["HTTP_X_REQUEST_ID"] = request_id

    def respond(_request: HttpRequest) -> HttpResponse:
        contract = fallback.contract_of(path)
        if contract is None and problem.status in _OF_PROGRAMS:
            contract = TheFocus
        if contract is None:
            response = fallback.page(problem)
        else:
            response = fallback.json_refusal(contract, problem)
            standing = limits.tally_of(request).tightest()
            for name, value in contract.limit_headers(standing).items():
                response.headers.setdefault(name, value)
        middleware.harden(path, response)
        SecurityMiddleware(respond).process_response(request, response)
        return response

    return cast(HttpResponse, middleware.RequestId(respond)(request))
