"""Responses from 400 to 503 without a view, in the envelope of the path's guide.

Outside the contracts' paths the response is an HTML page. No response needs the
database or the session, because either may be down. The exception is a credential that
is sent to a path without a view yet.
"""

import logging
import re
import sys
from typing import Any

from django.core.exceptions import DisallowedHost
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string

from focus import logs
from focus.contracts import (
    BAD_REQUEST,
    NOT_FOUND,
    SERVER_ERROR,
    UNAVAILABLE,
    Contract,
    Problem,
)
from focus.contracts.clipforge import ClipForge
from focus.contracts.cosmiv import Cosmiv
from focus.contracts.onesub import OneSub
from focus.contracts.reviv import Reviv
from focus.contracts.thefocus import TheFocus
from focus.contracts.wire import encode
from focus.errors import DomainError
from focus.web import unbuilt

log = logging.getLogger(__name__)

# First match wins.
TERRITORY: list[tuple[str, type[Contract]]] = [
    (r"/v1(/|$)|/files/upload(/|$)", ClipForge),
    (r"/api/(v1|checkout)(/|$)", OneSub),
    (r"/api/v2(/|$)|/health/?$|/api/auth/(register|login|refresh)/?$", Cosmiv),
    (r"/api/(auth|restorations|credits|health|schema)(/|$)", Reviv),
    # Reviv's own three among Focus's paths; the slash distinguishes the two docs.
    (r"/api/?$|/api/docs/$|/api/redoc/?$", Reviv),
    (r"/api/|/files(/|$)", TheFocus),
]
_TERRITORY = [(re.compile(pattern), contract) for pattern, contract in TERRITORY]
_SLASHES = re.compile("//+")

BAD_HOST = Problem(400, "invalid_request", "This server has no such host name.")
WRONG_METHOD = Problem(405, "method_not_allowed", "This address needs a form.")
FORBIDDEN = Problem(403, "forbidden", "You may not do this.")
CSRF_FAILED = Problem(
    403, "forbidden", "The form's security token is missing or out of date."
)
# The title and the advice of the page of each status.
ADVICE = {
    400: (
        "This request is not valid",
        "Go back and try again. If you followed a link, it may be incomplete.",
    ),
    403: (
        "You do not have access",
        "If you sent a form, it may have been open for too long: reload it and try "
        "again. Otherwise sign in with an account that has access.",
    ),
    404: (
        "Page not found",
        "The address may be wrong, or the page no longer exists.",
    ),
    405: (
        "This page opens from a form",
        "Go to your account and press the button there again.",
    ),
    408: ("That took too long", "Your connection may be slow. Try again."),
    413: ("That is too large", "Send less and try again."),
    429: (
        "Too many requests",
        "Nothing was done. Wait a moment, then try again.",
    ),
    500: (
        "Something went wrong on our side",
        "We have logged the error. Check your account before you try again: your "
        "last action may have worked.",
    ),
    503: (
        "We will be right back",
        "The service is not available at the moment. Reload in a few seconds.",
    ),
}


def contract_of(path: str) -> type[Contract] | None:
    """Return the contract that covers `path`, or None for the paths of HTML pages."""
    # A client's base URL may have a slash too many, or capitals.
    plain = _SLASHES.sub("/", path).lower()
    return next((c for pattern, c in _TERRITORY if pattern.match(plain)), None)


def answer(request: HttpRequest, problem: Problem) -> HttpResponse:
    """Return `problem` in the contract of the request's path, or as an HTML page."""
    contract = contract_of(request.path)
    return page(problem) if contract is None else json_refusal(contract, problem)


def json_refusal(contract: type[Contract], problem: Problem) -> HttpResponse:
    """Return `problem` as JSON in the envelope of `contract`."""
    headers = contract.refusal_headers(problem)
    body = encode(contract.refusal(problem))
    return HttpResponse(
        body, status=problem.status, headers=headers, content_type="application/json"
    )


def page(problem: Problem) -> HttpResponse:
    """Return an HTML page that says what happened, and what to do next."""
    title, advice = ADVICE.get(problem.status, ADVICE[400])
    if problem.status == 429:
        # The message says how long to wait.
        advice = f"Nothing was done. {problem.message}"
    about = {
        "problem": problem,
        "title": title,
        "advice": advice,
        "request_id": logs.request_id.get(),
    }
    html: str
    try:
        html = render_to_string("refusal.html", about)
    except Exception:
        # A page about a failure must not fail: static files may not be collected.
        log.exception("The page of a %s could not be rendered.", problem.status)
        html = f"<!doctype html><title>{title}</title><h1>{title}</h1><p>{advice}</p>"
    return HttpResponse(html, status=problem.status, headers=problem.headers)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400. Also the response to an unknown Host."""
    if isinstance(exception, DisallowedHost):
        return answer(request, BAD_HOST)
    return answer(request, Contract.problem(exception) or BAD_REQUEST)


def refused(request: HttpRequest, refusal: DomainError) -> HttpResponse:
    """Return the response of a domain error that middleware raised."""
    return answer(request, Contract.problem(refusal) or BAD_REQUEST)


def forbidden(request: HttpRequest, exception: Any = None) -> HttpResponse:
    return answer(request, FORBIDDEN)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    log.info("CSRF refused: %s", reason)
    return answer(request, CSRF_FAILED)


def not_found(request: HttpRequest, exception: Any = None) -> HttpResponseBase:
    """Django's handler404. Paths of hosted work answer 401 without a credential."""
    contract = contract_of(request.path)
    if contract is not None and unbuilt.is_hosted(request.path):
        return unbuilt.answer(request, contract)
    return answer(request, NOT_FOUND)


def server_error(request: HttpRequest) -> HttpResponse:
    # A lost database in middleware arrives here too: Django catches the error before
    # our middleware sees it.
    gone = sys.exc_info()[1]
    if isinstance(gone, OperationalError | InterfaceError):
        return unavailable(request, gone)
    return answer(request, SERVER_ERROR)


def unavailable(request: HttpRequest, reason: Exception) -> HttpResponse:
    """Return the 503 of a lost database, and log the reason."""
    log.error("Answered 503: %s: %s", type(reason).__name__, reason)
    return answer(request, UNAVAILABLE)
