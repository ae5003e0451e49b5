"""1sub: /api/v1/… and /api/checkout/…, flat errors with facts at the top level.

Errors are `{"error": "Sentence case title", "message": sentence, …facts}`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from focus.contracts import Contract, Problem
from focus.limiting import limits
from focus.money import from_micro, to_micro


class OneSub(Contract):
    slug = "onesub"
    # The guide's "Insufficient credits" is a 400, its "Tool/API key inactive" a 403. A
    # spending limit is the user's permission for this tool, so it is a 403, too.
    statuses = {
        "insufficient_credits": 400,
        "key_inactive": 403,
        "spending_limit_reached": 403,
        "duplicate_request": 409,
        "checkout_expired": 409,
    }

    titles: ClassVar[dict[str, str]] = {
        "unauthenticated": "Unauthorized",
        "validation_error": "Invalid request",
        "invalid_json": "Invalid request",
        "internal_error": "Internal server error",
        "rate_limited": "Rate limit exceeded",
        "app_inactive": "Tool inactive",
        "key_inactive": "API key inactive",
        "app_not_granted": "User not authorized",
    }
    # The guide's own sentences.
    messages: ClassVar[dict[str, str]] = {
        "token_expired": "The provided token has expired",
        "invalid_token": "The provided token is invalid",
        "app_inactive": "This tool is inactive. Contact support.",
        "key_inactive": "This API key is inactive. Contact support.",
        "insufficient_credits": "User does not have sufficient credits",
    }

    envelope = {
        "type": "object",
        "properties": {
            "error": {"type": "string"},
            "message": {"type": "string"},
        },
        "required": ["error", "message"],
        "additionalProperties": {},
    }

    @classmethod
    def limit_headers(cls, standing: limits.Standing) -> dict[str, str]:
        """Guide, "Rate Limit Headers": an ISO time, and always Retry-After."""
        moment = datetime.fromtimestamp(standing.resets_at, UTC)
        reset = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        wait = {"Retry-After": str(standing.wait_seconds)}
        return limits.headers(standing, reset=reset) | wait

    @classmethod
    def refusal(cls, problem: Problem) -> dict[str, Any]:
        title = cls.titles.get(problem.code)
        return {
            "error": title or problem.code.replace("_", " ").capitalize(),
            "message": cls.messages.get(problem.code, problem.message),
            **_facts(problem),
        }


def _facts(problem: Problem) -> Mapping[str, Any]:
    """Return the facts under the guide's names: the wait, or the missing balance."""
    if problem.code == "rate_limited":
        wait = int(problem.headers.get("Retry-After", "1"))
        return {**problem.facts, "retryAfter": wait, "retry_after": wait}
    if problem.code != "insufficient_credits":
        return problem.facts
    required, available = problem.facts["required"], problem.facts["available"]
    return {
        "current_balance": available,
        "required": required,
        "shortfall": from_micro(to_micro(required) - to_micro(available)),
    }
