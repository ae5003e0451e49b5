"""Every refusal in every guide's format: whole bodies, also without a view."""

from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from focus.contracts.clipforge import ClipForge
from focus.contracts.cosmiv import Cosmiv
from focus.contracts.reviv import Reviv
from focus.contracts.thefocus import TheFocus
from focus.web.fallback import contract_of
from tests.contracts.probes import (
    CLIPFORGE,
    COSMIV,
    DIALECTS,
    FOCUS,
    ONESUB,
    RAISED,
    REVIV,
    Dialect,
    every_dialect,
)

pytestmark = pytest.mark.urls("tests.contracts.probes")


@pytest.fixture
def anyone() -> Client:
    return Client(raise_request_exception=False)


def focus(code: str, message: str, **facts: Any) -> dict[str, Any]:
    return {"error": code, "message": message, **facts}


def onesub(title: str, message: str, **facts: Any) -> dict[str, Any]:
    return {"error": title, "message": message, **facts}


def reviv(code: str, message: str, **details: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "details": details}}


def cosmiv(code: str, message: str, **data: Any) -> dict[str, Any]:
    error = {"code": code, "message": message, "data": data}
    return {"success": False, "error": error}


def clipforge(status: int, reason: str, message: str, **facts: Any) -> dict[str, Any]:
    return {"statusCode": status, "message": message, "error": reason, **facts}


NOTHING = "There is nothing at this address."
POOR = "Not enough credits."
POOR_USER = "User does not have sufficient credits"
SHORT = {"current_balance": 3, "required": 5, "shortfall": 2}
OVER = "That is over the limit."
LIMIT = {"limit": 5, "spent": 4, "required": 2}
MISSING = "app: This field is required."
WAIT = "Request was throttled. Expected available in 3 seconds."
BUSY = "The service cannot answer right now. Please retry in a moment."
OURS = "Something went wrong on our side."
MANY = "The request has too many fields."
FIELDS = {"app": ["This field is required."]}

# The exception, and its answer in focus, onesub, reviv, cosmiv, clipforge.
TABLE: dict[str, list[tuple[int, dict[str, Any]]]] = {
    "domain": [
        (400, focus("invalid_request", "This makes no sense.")),
        (400, onesub("Invalid request", "This makes no sense.")),
        (400, reviv("INVALID_REQUEST", "This makes no sense.")),
        (400, cosmiv("VALIDATION_ERROR", "This makes no sense.")),
        (400, clipforge(400, "Bad Request", "This makes no sense.")),
    ],
    "not_found": [
        (404, focus("not_found", "There is no such thing.")),
        (404, onesub("Not found", "There is no such thing.")),
        (404, reviv("NOT_FOUND", "There is no such thing.")),
        (404, cosmiv("RESOURCE_NOT_FOUND", "There is no such thing.")),
        (404, clipforge(404, "Not Found", "There is no such thing.")),
    ],
    "contradiction": [
        (409, focus("job_not_started", "The job is over.", job_id="j1")),
        (409, onesub("Job not started", "The job is over.", job_id="j1")),
        (409, reviv("JOB_NOT_STARTED", "The job is over.", job_id="j1")),
        (409, cosmiv("JOB_NOT_STARTED", "The job is over.", job_id="j1")),
        (409, clipforge(409, "Conflict", "The job is over.", job_id="j1")),
    ],
    "poor": [
        (402, focus("insufficient_credits", POOR, required=5, available=3)),
        (400, onesub("Insufficient credits", POOR_USER, **SHORT)),
        (403, reviv("INSUFFICIENT_CREDITS", POOR, required=5, available=3)),
        (402, cosmiv("INSUFFICIENT_CREDITS", POOR, required=5, available=3)),
        (402, clipforge(402, "Payment Required", POOR, required=5, available=3)),
    ],
    "limited": [
        (402, focus("spending_limit_reached", OVER, **LIMIT)),
        (403, onesub("Spending limit reached", OVER, **LIMIT)),
        (403, reviv("SPENDING_LIMIT_REACHED", OVER, **LIMIT)),
        (402, cosmiv("SPENDING_LIMIT_REACHED", OVER, **LIMIT)),
        (402, clipforge(402, "Payment Required", OVER, **LIMIT)),
    ],
    "http404": [
        (404, focus("not_found", NOTHING)),
        (404, onesub("Not found", NOTHING)),
        (404, reviv("NOT_FOUND", NOTHING)),
        (404, cosmiv("RESOURCE_NOT_FOUND", NOTHING)),
        (404, clipforge(404, "Not Found", NOTHING)),
    ],
    "denied": [
        (403, focus("forbidden", "You may not do this.")),
        (403, onesub("Forbidden", "You may not do this.")),
        (403, reviv("PERMISSION_DENIED", "You may not do this.")),
        (403, cosmiv("INSUFFICIENT_PERMISSIONS", "You may not do this.")),
        (403, clipforge(403, "Forbidden", "You may not do this.")),
    ],
    "invalid": [
        (400, focus("invalid_request", MISSING, fields=FIELDS)),
        (400, onesub("Invalid request", MISSING)),
        (400, reviv("VALIDATION_ERROR", MISSING, **FIELDS)),
        (400, cosmiv("VALIDATION_ERROR", MISSING, **FIELDS)),
        (400, clipforge(400, "Bad Request", MISSING)),
    ],
    "throttled": [
        (429, focus("rate_limited", WAIT)),
        (429, onesub("Rate limit exceeded", WAIT, retryAfter=3, retry_after=3)),
        (429, reviv("RATE_LIMITED", WAIT)),
        (429, cosmiv("RATE_LIMIT_EXCEEDED", WAIT)),
        (429, clipforge(429, "Too Many Requests", WAIT)),
    ],
    "fields": [
        (413, focus("payload_too_large", MANY)),
        (413, onesub("Payload too large", MANY)),
        (413, reviv("PAYLOAD_TOO_LARGE", MANY)),
        (413, cosmiv("PAYLOAD_TOO_LARGE", MANY)),
        (413, clipforge(413, "Request Entity Too Large", MANY)),
    ],
    "database": [
        (503, focus("service_unavailable", BUSY)),
        (503, onesub("Service unavailable", BUSY)),
        (503, reviv("SERVICE_UNAVAILABLE", BUSY)),
        (503, cosmiv("SERVICE_UNAVAILABLE", BUSY)),
        (503, clipforge(503, "Service Unavailable", BUSY)),
    ],
    "bug": [
        (500, focus("internal_error", OURS)),
        (500, onesub("Internal server error", OURS)),
        (500, reviv("INTERNAL_SERVER_ERROR", OURS)),
        (500, cosmiv("INTERNAL_SERVER_ERROR", OURS)),
        (500, clipforge(500, "Internal Server Error", OURS)),
    ],
}
CASES = [
    pytest.param(dialect, what, status, body, id=f"{what}-{dialect}")
    for what, row in TABLE.items()
    for dialect, (status, body) in zip(DIALECTS, row, strict=True)
]


@pytest.mark.parametrize(("dialect", "what", "status", "body"), CASES)
def test_a_refusal_reads_as_the_guide_says(
    anyone: Client, dialect: Dialect, what: str, status: int, body: dict[str, Any]
) -> None:
    answer = anyone.post(dialect.path, {"raise": what}, content_type="application/json")
    assert answer.status_code == status
    assert answer.json() == body
    assert answer["Content-Type"] == "application/json"
    assert answer["Cache-Control"] == "no-store"


def test_every_exception_above_is_in_the_table() -> None:
    assert set(TABLE) == set(RAISED)


@every_dialect
def test_a_429_says_when_to_retry(anyone: Client, dialect: Dialect) -> None:
    sent = {"raise": "throttled"}
    answer = anyone.post(dialect.path, sent, content_type="application/json")
    assert answer["Retry-After"] == "3"


@every_dialect
def test_a_lost_database_only_says_when_to_retry(
    anyone: Client, dialect: Dialect
) -> None:
    sent = {"raise": "database"}
    answer = anyone.post(dialect.path, sent, content_type="application/json")
    assert answer["Retry-After"] == "1"
    assert b"hunter2" not in answer.content


ANONYMOUS = "Sign in or send a credential."
UNAUTHENTICATED = [
    focus("unauthenticated", ANONYMOUS),
    onesub("Unauthorized", ANONYMOUS),
    reviv("NOT_AUTHENTICATED", ANONYMOUS),
    cosmiv("AUTHENTICATION_REQUIRED", ANONYMOUS),
    clipforge(401, "Unauthorized", ANONYMOUS),
]


@pytest.mark.parametrize(
    ("dialect", "body"), list(zip(DIALECTS, UNAUTHENTICATED, strict=True)), ids=str
)
def test_a_401_has_a_challenge(
    anyone: Client, dialect: Dialect, body: dict[str, Any]
) -> None:
    slash = "/" if dialect.path.endswith("/") else ""
    answer = anyone.get(f"{dialect.path.rstrip('/')}/closed{slash}")
    assert (answer.status_code, answer.json()) == (401, body)
    assert answer["WWW-Authenticate"] == "Bearer"
    assert answer["Cache-Control"] == "no-store"


# A path without a view, and the guide of its error format.
STRAY = [
    ("/api/nothing", FOCUS),
    ("/api/nothing/", FOCUS),
    ("/api/jobs/1/2/3", FOCUS),
    ("/api/device/nothing", FOCUS),
    ("/api/v1", ONESUB),
    ("/api/v1/nothing", ONESUB),
    ("/api/v1/credits/nothing/", ONESUB),
    ("/api/checkout/nothing", ONESUB),
    ("/api/v2", COSMIV),
    ("/api/auth/login/extra", REVIV),
    ("/api/auth/nothing", REVIV),
    ("/api/auth/", REVIV),
    ("/api/auth", REVIV),
    ("/api/credits/nothing/", REVIV),
    ("/api/health/nothing", REVIV),
    ("/api/schema/nothing", REVIV),
    ("/v1", CLIPFORGE),
]
NOT_THERE = dict(zip(DIALECTS, (body for _, body in TABLE["http404"]), strict=True))


@pytest.mark.parametrize(("stray", "dialect"), STRAY, ids=str)
def test_an_unknown_path_is_refused_in_its_guides_format(
    anyone: Client, stray: str, dialect: Dialect
) -> None:
    for method in ("GET", "POST", "DELETE", "PATCH", "PUT"):
        answer = anyone.generic(method, stray)
        assert (answer.status_code, answer.json()) == (404, NOT_THERE[dialect])


def test_an_unknown_path_is_404_for_every_caller(
    anyone: Client, as_alice: APIClient
) -> None:
    for path in ("/v1/nothing", "/api/v2/nothing", "/api/restorations/7/nothing/"):
        for caller in (anyone, as_alice):
            assert caller.get(path).status_code == 404
            assert caller.post(path).status_code == 404


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("//api/wallet", {"error", "message"}),
        ("/API/wallet", {"error", "message"}),
        ("/api//wallet", {"error", "message"}),
        ("//api/v1/verify-user", {"error", "message"}),
        ("/api//v2/jobs", {"success", "error"}),
        ("/Api/V2/jobs", {"success", "error"}),
        ("//v1/projects", {"statusCode", "message", "error"}),
        ("/V1/projects", {"statusCode", "message", "error"}),
        ("/api/credits//packs/", {"error"}),
        ("/API/credits/packs/", {"error"}),
    ],
)
def test_a_slightly_wrong_base_url_gets_json(
    anyone: Client, path: str, keys: set[str]
) -> None:
    # The test client parses "//api" as a host.
    answer = anyone.get("/", PATH_INFO=path)
    assert answer.status_code == 404
    assert set(answer.json()) == keys
    assert "X-RateLimit-Limit" in answer.headers


# Endpoints of the guides that are not built yet.
UNBUILT = [
    ("/api/v2/jobs", COSMIV),
    ("/api/v2/jobs/0a1b/status/", COSMIV),
    ("/v1/uploads/sign", CLIPFORGE),
    ("/v1/exports/5", CLIPFORGE),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("path", "dialect"), UNBUILT, ids=str)
def test_an_unbuilt_endpoint_is_401_then_404(
    anyone: Client, as_alice: APIClient, path: str, dialect: Dialect
) -> None:
    challenge = dict(zip(DIALECTS, UNAUTHENTICATED, strict=True))[dialect]
    for method in ("get", "post", "put", "patch", "delete"):
        answer = getattr(anyone, method)(path)
        assert (answer.status_code, answer.json()) == (401, challenge)
        assert answer["WWW-Authenticate"] == "Bearer"
        assert int(answer["X-RateLimit-Remaining"]) >= 0
        bad = getattr(anyone, method)(path, headers={"Authorization": "Bearer x"})
        assert bad.status_code == 401
        answer = getattr(as_alice, method)(path)
        assert (answer.status_code, answer.json()) == (404, NOT_THERE[dialect])
    assert anyone.head(path).status_code == 401
    assert anyone.options(path).status_code == 404


@pytest.mark.parametrize(
    ("where", "contract"),
    [
        ("/api", Reviv),
        ("/api/", Reviv),
        ("/api/docs", TheFocus),
        ("/api/docs/", Reviv),
        ("/api/auth/login", Cosmiv),
        ("/api/auth/login/", Cosmiv),
        ("/api/auth/token/refresh/", Reviv),
        ("/health", Cosmiv),
        ("/v1", ClipForge),
        ("/v10/x", None),
        ("/healthy", None),
        ("/apiary", None),
        ("/signin", None),
        ("/", None),
    ],
)
def test_which_guide_answers_for_an_unknown_path(
    where: str, contract: type | None
) -> None:
    assert contract_of(where) is contract


WRONG_METHOD = [
    focus("method_not_allowed", 'Method "PATCH" not allowed.'),
    onesub("Method not allowed", 'Method "PATCH" not allowed.'),
    reviv("METHOD_NOT_ALLOWED", 'Method "PATCH" not allowed.'),
    cosmiv("METHOD_NOT_ALLOWED", 'Method "PATCH" not allowed.'),
    clipforge(405, "Method Not Allowed", 'Method "PATCH" not allowed.'),
]


@pytest.mark.parametrize(
    ("dialect", "body"), list(zip(DIALECTS, WRONG_METHOD, strict=True)), ids=str
)
def test_a_405_lists_the_allowed_methods(
    anyone: Client, dialect: Dialect, body: dict[str, Any]
) -> None:
    answer = anyone.patch(dialect.path)
    assert (answer.status_code, answer.json()) == (405, body)
    assert answer["Allow"] == "GET, POST, HEAD, OPTIONS"


@every_dialect
def test_an_unknown_method_is_refused_first(anyone: Client, dialect: Dialect) -> None:
    for method in ("DISPATCH", "INITIAL", "TRACE", "BREW"):
        assert anyone.generic(method, dialect.path).status_code == 405


@every_dialect
def test_options_needs_no_credential_and_head_is_a_get_without_a_body(
    anyone: Client, dialect: Dialect
) -> None:
    options = anyone.options(dialect.path)
    assert (options.status_code, options.content) == (204, b"")
    assert options["Allow"] == "GET, POST, HEAD, OPTIONS"
    head = anyone.head(dialect.path)
    assert (head.status_code, head.content) == (200, b"")
    assert head["Content-Length"] == "2"
