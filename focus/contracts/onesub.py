"""1sub: /api/v1/… and /api/checkout/…, flat errors with facts at the top level.

Errors are `{"error": "Sentence case title", "message": sentence, …facts}`.
"""

from typing import Any, ClassVar

from focus.contracts import Contract, Problem


class OneSub(Contract):
    slug = "onesub"
    # The guide's "Insufficient credits" is a 400.
    statuses = {"insufficient_credits": 400}

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
    def refusal(cls, problem: Problem) -> dict[str, Any]:
        title = cls.titles.get(problem.code)
        return {
            "error": title or problem.code.replace("_", " ").capitalize(),
            "message": problem.message,
            **problem.facts,
        }
