"""Cosmiv: /api/v2/…, /api/auth/{register,login,refresh} and /health.

Errors are `{"success": false, "error": {"code": "UPPER", "message", "data": {}}}`.
"""

from typing import Any, ClassVar

from focus.contracts import Contract, Problem
from focus.contracts.wire import (
    StrictFormParser,
    StrictJSONParser,
    StrictMultiPartParser,
)


class Cosmiv(Contract):
    slug = "cosmiv"
    # The guide's examples post JSON, urlencoded and multipart bodies.
    parser_classes = [StrictJSONParser, StrictFormParser, StrictMultiPartParser]

    # The guide's "Common Error Codes".
    codes: ClassVar[dict[str, str]] = {
        "unauthenticated": "AUTHENTICATION_REQUIRED",
        "invalid_token": "AUTHENTICATION_REQUIRED",
        "token_expired": "AUTHENTICATION_REQUIRED",
        "forbidden": "INSUFFICIENT_PERMISSIONS",
        "credential_not_accepted": "INSUFFICIENT_PERMISSIONS",
        "insufficient_scope": "INSUFFICIENT_PERMISSIONS",
        "not_found": "RESOURCE_NOT_FOUND",
        "invalid_json": "VALIDATION_ERROR",
        "invalid_request": "VALIDATION_ERROR",
        "rate_limited": "RATE_LIMIT_EXCEEDED",
        "internal_error": "INTERNAL_SERVER_ERROR",
    }

    envelope = {
        "type": "object",
        "properties": {
            "success": {"type": "boolean", "enum": [False]},
            "error": {
                "type": "object",
                "properties": {
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                    "data": {"type": "object", "additionalProperties": {}},
                },
                "required": ["code", "message", "data"],
            },
        },
        "required": ["success", "error"],
    }

    @classmethod
    def refusal(cls, problem: Problem) -> dict[str, Any]:
        code = cls.codes.get(problem.code, problem.code.upper())
        data = {**problem.facts, **problem.fields}
        error = {"code": code, "message": problem.message, "data": data}
        return {"success": False, "error": error}
