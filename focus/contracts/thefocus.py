"""The Focus API (account.thefocus.ai): /api/…, no trailing slash.

Errors are `{"error": code, "message": sentence, …facts}`.
"""

from typing import Any, ClassVar

from focus.contracts import Contract, Problem


class TheFocus(Contract):
    slug = "focus"

    codes: ClassVar[dict[str, str]] = {"validation_error": "invalid_request"}

    envelope = {
        "type": "object",
        "properties": {
            "error": {"type": "string"},
            "message": {"type": "string"},
            "fields": {"type": "object", "additionalProperties": {}},
        },
        "required": ["error", "message"],
        "additionalProperties": {},
    }

    @classmethod
    def refusal(cls, problem: Problem) -> dict[str, Any]:
        body = {
            "error": cls.codes.get(problem.code, problem.code),
            "message": problem.message,
            **problem.facts,
        }
        if problem.fields:
            body["fields"] = dict(problem.fields)
        return body
