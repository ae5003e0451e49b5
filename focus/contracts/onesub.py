"""1sub: /api/v1/… and /api/checkout/…, flat errors with facts at the top level.

Errors are `{"error": "Sentence case title", "message": sentence, …facts}`.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar

from focus import limits
from focus.contracts import Contract, Problem


class OneSub(Contract):
    slug = "onesub"
    # The guide's "Insufficient credits" is a 400. A spending limit is the person's
    # word on what this tool may do, as a missing authorization is.
    statuses = {"insufficient_credits": 400, "spending_limit_reached": 403}

    titles: ClassVar[dict[str, str]] = {
        "unauthenticated": "Unauthorized",
        "validation_error": "Invalid request",
        "invalid_json": "Invalid request",
        "internal_error": "Internal server error",
        "rate_limited": "Rate limit exceeded",
    }

    envelope = {
        "type": "object",
        "properties": {
            "error": {"type": "string", "example": "Invalid request"},
            "message": {"type": "string"},
        },
        "required": ["error", "message"],
        "additionalProperties": {},
    }

    @classmethod
    def limit_headers(cls, standing: limits.Standing) -> dict[str, str]:
        """Guide, "Rate Limit Headers": an ISO time, always Retry-After."""
        moment = datetime.fromtimestamp(standing.resets_at, UTC)
        reset = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        wait = {"Retry-After": str(standing.wait_seconds)}
        return limits.headers(standing, reset=reset) | wait

    @classmethod
    def refusal(cls, problem: Problem) -> dict[str, Any]:
        title = cls.titles.get(problem.code)
        return {
            "error": title or problem.code.replace("_", " ").capitalize(),
            "message": problem.message,
            **problem.facts,
        }
