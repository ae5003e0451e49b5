"""One module per public guide: its authentication, rate limits and error format.

A contract has no rules about jobs or credits. It turns a `Problem` into the guide's
error envelope. Every view of that guide inherits it.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.db import InterfaceError, OperationalError
from django.http import Http404
from django.http.request import UnreadablePostError
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from accounts.authentication import Accepts, Credentials
from accounts.credentials.access import PUBLIC, Access, Unauthenticated
from accounts.credentials.principals import Kind, Principal
from focus.bodies import chunked
from focus.bodies.unread import TooBusy, TooSlow
from focus.errors import DomainError
from focus.limiting import limits
from focus.limiting.limits import FAILURES, GENERAL, Policy, Standing, Tally

if TYPE_CHECKING:
    from rest_framework.views import APIView as _View
else:
    # DRF's views import our renderer, and with it this package, before APIView exists.
    _View = object

log = logging.getLogger(__name__)

# The HTTP status of each refusal, unless a guide says otherwise.
STATUSES = {
    "unauthenticated": 401,
    "invalid_token": 401,
    "token_expired": 401,
    "invalid_credentials": 401,
    "insufficient_credits": 402,
    "spending_limit_reached": 402,
    "forbidden": 403,
    "credential_not_accepted": 403,
    "insufficient_scope": 403,
    "token_bound_to_app": 403,
    "app_key_required": 403,
    "hosted_app": 403,
    "app_not_granted": 403,
    "app_inactive": 403,
    "not_found": 404,
    "unknown_app": 404,
    "job_not_found": 404,
    "job_not_started": 409,
    "address_expired": 403,
    "address_invalid": 403,
    "upload_used": 403,
    "file_quota_spent": 413,
    "file_too_large": 413,
    "wrong_file_type": 415,
    "range_not_satisfiable": 416,
    "storage_failed": 500,
    "disk_low": 507,
    "request_in_flight": 409,
    "idempotency_key_reused": 422,
    "rate_limited": 429,
    "service_unavailable": 503,
    "product_unavailable": 503,
}
# Our codes for DRF's own.
_CODES = {
    "not_authenticated": "unauthenticated",
    "authentication_failed": "invalid_token",
    "permission_denied": "forbidden",
    "parse_error": "invalid_json",
    "error": "invalid_request",
    "throttled": "rate_limited",
}


@dataclass(frozen=True)
class Problem:
    """A refusal for the response: HTTP status, snake_case code, one sentence, facts.

    `fields` maps a field's name to its errors; only invalid input has any.
    """

    status: int
    code: str
    message: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


NOT_FOUND = Problem(404, "not_found", "There is nothing at this address.")
SERVER_ERROR = Problem(500, "internal_error", "Something went wrong on our side.")
UNAVAILABLE = Problem(
    503,
    "service_unavailable",
    # Do not say "nothing was changed": a connection lost during COMMIT leaves it open.
    "The service cannot answer right now. Please retry in a moment.",
    headers={"Retry-After": "1"},
)
BUSY = Problem(
    503,
    "service_unavailable",
    "Too many requests are waiting just now. Please retry in a moment.",
    headers={"Retry-After": "1"},
)
TOO_SLOW = Problem(408, "request_timeout", "The request body arrived too slowly.")
TOO_LARGE = Problem(413, "payload_too_large", "The request body is too large.")
TOO_MANY_FIELDS = Problem(413, "payload_too_large", "The request has too many fields.")
BAD_REQUEST = Problem(400, "invalid_request", "The request could not be understood.")


class Contract(_View):
    """Base of the five contract mixins. Put it left of the DRF view class."""

    # The guide's name, as CONTRACTS and the OpenAPI documents spell it.
    slug: ClassVar[str]
    authentication_classes: Sequence[Any] = (Credentials,)
    # Checks each action's credential against the view's `accepts` table.
    permission_classes: Sequence[Any] = (Accepts,)
    accepts: Mapping[str, Access]
    # The rate limit policies of each action; GENERAL for an action without an entry.
    limits: Mapping[str, Sequence[Policy]] = {}
    # Without rate limits: health, docs, Stripe's receivers.
    unlimited: ClassVar[bool] = False
    # This guide's statuses that differ from STATUSES.
    statuses: ClassVar[dict[str, int]] = {}
    # The JSON Schema of what `refusal` returns, for the OpenAPI documents.
    envelope: ClassVar[dict[str, Any]]
    # A larger body is refused before reading. None: DATA_UPLOAD_MAX_MEMORY_SIZE.
    max_body_bytes: ClassVar[int | None] = None
    # Whether the view reads the body in pieces: see `focus.contracts.multipart`. Any
    # other chunked body is read into memory, to learn its length.
    streams_body: ClassVar[bool] = False

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        """Check the method and Content-Length, then authenticate, permit and count.

        Raises the refusal. A method that no public action has needs a credential first,
        so that a stranger gets 401 instead of 405.
        """
        tally = self._tally(request)
        tally.slug, tally.unlimited = self.slug, self.unlimited
        method = request.method.lower()
        if method not in self.http_method_names or not hasattr(self, method):
            if not self._has_a_public_method():
                self.perform_authentication(request)
                if request.auth is None:
                    raise Unauthenticated("Sign in or send a credential.")
            raise exceptions.MethodNotAllowed(request.method)
        self._inspect(request.META)
        if method != "options":
            super().initial(request, *args, **kwargs)
            # Read a chunked body only now, so that a refused caller's body stays
            # unread.
            if self.streams_body:
                most = self.max_body_bytes or settings.DATA_UPLOAD_MAX_MEMORY_SIZE
                chunked.stream(request._request, most=most)
            else:
                chunked.measure(request._request)

    def perform_authentication(self, request: Any) -> None:
        """Authenticate the request and count it against its rate limits.

        A request without permission counts too, because permissions are checked later.
        An address with too many wrong guesses is refused before the next lookup. A
        request over a limit counts against none.
        """
        if self.unlimited:
            super().perform_authentication(request)
            return
        tally = self._tally(request)
        policies = [it for it in self._policies() if it.judged_first]
        try:
            super().perform_authentication(request)
        except limits.Limited:
            raise
        except (DomainError, exceptions.APIException) as refusal:
            tally.count(policies, wrong_guess=limits.is_wrong_guess(refusal))
            raise
        tally.caller = _caller(request.auth)
        tally.count(policies, authenticated=True)

    def _policies(self) -> Sequence[Policy]:
        # The action of DRF's view sets; None for a method without one.
        action: str | None = getattr(self, "action", None)
        return self.limits.get(action or "", (GENERAL,))

    def _has_a_public_method(self) -> bool:
        actions = getattr(self, "action_map", None) or {}
        return any(self.accepts.get(name) is PUBLIC for name in actions.values())

    def _tally(self, request: Any) -> Tally:
        return limits.tally_of(request._request)

    def _inspect(self, meta: Mapping[str, Any]) -> None:
        sent = meta.get("CONTENT_LENGTH") or "0"
        limit = self.max_body_bytes or settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if not sent.isdecimal() or int(sent) > limit:
            raise RequestDataTooBig("Content-Length")

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """Answer 204 with the methods in `Allow`, without authentication."""
        return Response(status=204)

    @classmethod
    def refusal(cls, problem: Problem) -> dict[str, Any]:
        """Return the guide's error body for `problem`."""
        raise NotImplementedError

    @classmethod
    def refusal_headers(cls, problem: Problem) -> dict[str, str]:
        """Return the headers of a refusal; a 401 has a `WWW-Authenticate` challenge."""
        headers = dict(problem.headers)
        if problem.status == 401:
            headers.setdefault("WWW-Authenticate", "Bearer")
        return headers

    @classmethod
    def respond(cls, problem: Problem) -> Response:
        """Return the response for `problem`, in this guide's format."""
        headers = cls.refusal_headers(problem)
        return Response(cls.refusal(problem), status=problem.status, headers=headers)

    @classmethod
    def limit_headers(cls, standing: Standing) -> dict[str, str]:
        """Return this guide's rate limit headers, which every response has."""
        return limits.headers(standing, reset=str(math.ceil(standing.resets_at)))

    def get_authenticate_header(self, request: Any) -> str:
        # DRF turns a 401 into a 403 if the first authenticator has no challenge.
        return "Bearer"

    def get_exception_handler(self) -> Any:
        return self.answer

    def answer(self, exc: Exception, context: Any) -> Response | None:
        """Answer an exception in this guide's format; None for a bug (the 500 handler).

        Counts a wrong guess of a credential that the action itself has checked. Rolls
        the transaction back.
        """
        counts_guesses = any(it.name == FAILURES.name for it in self._policies())
        if counts_guesses and limits.is_wrong_guess(exc):
            try:
                self._tally(context["request"]).count_wrong_guess()
            except limits.Limited as too_many:
                exc = too_many
        problem = self.problem(exc)
        if problem is None:
            return None
        if problem.status == 503:
            log.error("Answered 503: %s: %s", type(exc).__name__, exc)
        set_rollback()
        return self.respond(problem)

    @classmethod
    def problem(cls, exc: Exception) -> Problem | None:
        """Return the refusal that this exception means; None for a bug."""
        if isinstance(exc, DomainError):
            status = cls.statuses.get(exc.code, STATUSES.get(exc.code, 400))
            wait = exc.retry_after_seconds
            headers = {} if wait is None else {"Retry-After": str(wait)}
            return Problem(status, exc.code, exc.message, exc.facts, headers=headers)
        if isinstance(exc, OperationalError | InterfaceError):
            return UNAVAILABLE
        if isinstance(exc, Http404):
            return NOT_FOUND
        if isinstance(exc, PermissionDenied):
            return Problem(403, "forbidden", "You may not do this.")
        if isinstance(exc, RequestDataTooBig):
            return TOO_LARGE
        if isinstance(exc, TooManyFieldsSent | TooManyFilesSent):
            return TOO_MANY_FIELDS
        if isinstance(exc, SuspiciousOperation):
            return BAD_REQUEST
        if isinstance(exc, UnreadablePostError):
            if isinstance(exc.__cause__, TooSlow):
                return TOO_SLOW
            if isinstance(exc.__cause__, TooBusy):
                return BUSY
            return Problem(400, "invalid_request", "The request body ended too soon.")
        if isinstance(exc, exceptions.ValidationError):
            return _invalid(exc.detail)
        if isinstance(exc, exceptions.APIException):
            return _from_drf(exc)
        return None


class Open:
    """A mixin for views with a public `read`. Put it left of the contract.

    It reads no credential, so these views work without the database.
    """

    authentication_classes: Sequence[Any] = ()
    permission_classes: Sequence[Any] = ()
    accepts: Mapping[str, Access] = {"read": PUBLIC}
    unlimited = True


def _caller(principal: Principal | None) -> limits.LimitedCaller | None:
    if principal is None:
        return None
    owner = principal.app or principal.user
    if principal.kind in (Kind.APP_KEY, Kind.USER_KEY):
        subject = f"key:{principal.token_id}"
    else:
        subject = f"account:{owner.pk if owner else ''}"
    return limits.LimitedCaller(subject, owner.rate_limit_per_minute if owner else None)


def _from_drf(exc: exceptions.APIException) -> Problem:
    codes = exc.get_codes()
    code = codes if isinstance(codes, str) else exc.default_code
    headers = {}
    if wait := getattr(exc, "wait", None):
        headers["Retry-After"] = str(max(1, int(wait)))
    return Problem(
        exc.status_code, _CODES.get(code, code), str(exc.detail), headers=headers
    )


def _invalid(detail: Any) -> Problem:
    """Return DRF's nested validation details as one sentence, and as `fields`."""
    fields = detail if isinstance(detail, dict) else {"non_field_errors": detail}
    sentences = [
        reason if name == "non_field_errors" else f"{name}: {reason}"
        for name, reasons in fields.items()
        for reason in _leaves(reasons)
    ]
    return Problem(400, "validation_error", " ".join(sentences), fields=fields)


def _leaves(reasons: Any) -> list[str]:
    if isinstance(reasons, dict):
        return [leaf for value in reasons.values() for leaf in _leaves(value)]
    if isinstance(reasons, list | tuple):
        return [leaf for value in reasons for leaf in _leaves(value)]
    return [str(reasons)]
