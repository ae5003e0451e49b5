"""Examples of refusals for the OpenAPI documents, in each contract's format."""

import json
from collections.abc import Mapping
from typing import Any

from rest_framework.serializers import Serializer

from focus.contracts import NOT_FOUND, SERVER_ERROR, TOO_LARGE, UNAVAILABLE, Problem
from focus.contracts.wire import encode

_REQUIRED = "This field is required."
_NUL = "U+0000 is not allowed in text."
_USUAL: dict[int, Problem] = {
    401: Problem(401, "unauthenticated", "Sign in or send a credential."),
    402: Problem(
        402,
        "insufficient_credits",
        "There are not enough credits for this.",
        {"required": 5, "available": 3},
    ),
    403: Problem(
        403,
        "credential_not_accepted",
        "This kind of credential is not accepted here.",
    ),
    404: NOT_FOUND,
    409: Problem(
        409,
        "request_in_flight",
        "The same request is still being worked on; ask again soon.",
    ),
    413: TOO_LARGE,
    415: Problem(
        415,
        "unsupported_media_type",
        'Unsupported media type "text/plain" in request.',
    ),
    422: Problem(
        422,
        "idempotency_key_reused",
        "This idempotency key has answered another request.",
    ),
    429: Problem(
        429,
        "rate_limited",
        "Rate limit exceeded. Try again in 30 seconds.",
        headers={"Retry-After": "30"},
    ),
    500: SERVER_ERROR,
    503: UNAVAILABLE,
}
_UNKNOWN_APP = Problem(404, "unknown_app", "There is no such app.")
_NO_JOB = Problem(404, "job_not_found", "There is no such job.")
_SETTLED = Problem(
    409, "job_not_started", "The job is already completed.", {"status": "completed"}
)
_NOT_GRANTED = Problem(
    403, "app_not_granted", "This person has not let the app spend their credits."
)
_TOO_LONG = Problem(
    400,
    "ttl_too_long",
    "A job's credits stay reserved for at most 7 days after its start.",
    {"max_ttl_seconds": 1800},
)
_NO_CODE = Problem(
    400, "invalid_device_code", "The device code is unknown or already used."
)
_WRONG = Problem(401, "invalid_credentials", "The email or the password is wrong.")
_EXPIRED = Problem(401, "token_expired", "The token has expired.")
_DISK_LOW = Problem(
    507,
    "disk_low",
    "The server has no room for this file now. Please try again later.",
)
# Per operation: the examples that differ from _USUAL.
_OWN: dict[str, list[Problem]] = {
    "focus_session_token": [
        Problem(
            401,
            "unauthenticated",
            "Sign in or send a credential.",
            {"signin_url": "https://account.thefocus.ai/signin"},
        )
    ],
    "focus_jobs_create": [_UNKNOWN_APP],
    "focus_jobs_complete": [_NO_JOB, _SETTLED],
    "focus_jobs_fail": [_NO_JOB, _SETTLED],
    "focus_jobs_extend": [_NO_JOB, _SETTLED, _TOO_LONG, _NOT_GRANTED],
    "focus_jobs_retrieve": [_NO_JOB],
    "focus_device_poll": [_NO_CODE],
    "focus_device_cancel": [_NO_CODE],
    "focus_device_complete": [
        Problem(
            400,
            "invalid_user_code",
            "No device waits with this code. It may have expired or been answered.",
        )
    ],
    "focus_apps_limit": [_UNKNOWN_APP],
    "focus_wallet_retrieve": [_UNKNOWN_APP],
    "focus_tokens_rotate": [
        Problem(
            409,
            "key_not_usable",
            "This token is expired, revoked or already replaced.",
        )
    ],
    "focus_x_token": [
        Problem(404, "not_linked", "No x account is linked to yours."),
        Problem(409, "reconnect_required", "Link the account again."),
    ],
    "focus_oauth_token_retrieve": [
        Problem(404, "not_linked", "No x account is linked to yours."),
        Problem(409, "reconnect_required", "Link the account again."),
    ],
    "onesub_credits_consume": [
        Problem(
            409,
            "duplicate_request",
            "This request was charged before. It was not charged again.",
            {
                "is_duplicate": True,
                "transaction_id": "880e8400-e29b-41d4-a716-446655440000",
                "new_balance": 90,
            },
        ),
        _NOT_GRANTED,
    ],
    "onesub_verify_user_verify": [
        _EXPIRED,
        Problem(403, "app_inactive", "This tool is inactive."),
    ],
    "onesub_checkout_process": [
        Problem(
            409,
            "checkout_expired",
            "This checkout has expired; start a new one.",
        )
    ],
    "focus_files_download": [
        Problem(403, "address_expired", "This address has expired. Ask for a new one."),
        Problem(404, "not_found", "This file does not exist any more."),
        Problem(
            416, "range_not_satisfiable", "The file has 1000 bytes.", {"size": 1000}
        ),
    ],
    "clipforge_files_upload": [
        Problem(
            403,
            "address_expired",
            "This upload address has expired. Ask for a new one.",
        ),
        _DISK_LOW,
    ],
    "cosmiv_login": [_WRONG],
    "cosmiv_refresh": [_EXPIRED],
    "clipforge_auth_login": [_WRONG],
    "clipforge_auth_register": [
        Problem(409, "email_taken", "An account with this email already exists.")
    ],
    "reviv_auth_token_refresh": [
        Problem(
            400,
            "missing_refresh",
            "Send the cookie reviv_refresh or the field refresh.",
        ),
        Problem(
            403,
            "cross_site_request",
            "Another site may not use your browser session here.",
        ),
    ],
}


def refusal(
    contract: Any, *, operation: str, method: str, status: int, body: Any
) -> dict[str, Any] | None:
    """Return the contract's example refusal of this operation at this status, or None.

    `body` is the request's serializer, if it has one.
    """
    own = {problem.status: problem for problem in _OWN.get(operation, [])}
    problem = own.get(status) or _USUAL.get(status)
    if problem is None and status == 400:
        problem = _invalid(method, body)
    if problem is None:
        return None
    made: dict[str, Any] = json.loads(encode(contract.refusal(problem)))
    return made


def _invalid(method: str, body: Any) -> Problem:
    fields: Mapping[str, Any] = {}
    if isinstance(body, type):
        body = body()
    if isinstance(body, Serializer):
        fields = body.fields
    needed = next((name for name, field in fields.items() if field.required), None)
    if needed is not None:
        wrong = {needed: [_REQUIRED]}
        message = f"{needed}: {_REQUIRED}"
        return Problem(400, "validation_error", message, fields=wrong)
    if method == "GET" or not fields:
        return Problem(
            400, "validation_error", _NUL, fields={"non_field_errors": [_NUL]}
        )
    return Problem(400, "invalid_json", "The body must be a JSON object.")
