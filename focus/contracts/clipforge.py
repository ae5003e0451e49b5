"""ClipForge: /v1/…, camelCase bodies, `X-Api-Key` or a bearer JWT.

Errors are `{"statusCode": n, "message": sentence, "error": "Reason Phrase"}`.
"""

from http import HTTPStatus
from typing import Any

from focus.contracts import Contract, Problem


class ClipForge(Contract):
    slug = "clipforge"

    envelope = {
        "type": "object",
        "properties": {
            "statusCode": {"type": "integer"},
            "message": {"type": "string"},
            "error": {"type": "string"},
        },
        "required": ["statusCode", "message", "error"],
        "additionalProperties": {},
    }

    @classmethod
    def refusal(cls, problem: Problem) -> dict[str, Any]:
        return {
            "statusCode": problem.status,
            "message": problem.message,
            "error": HTTPStatus(problem.status).phrase,
            **problem.facts,
        }
