"""reviv.pics: /api/…/ with a trailing slash.

Errors are `{"error": {"code": "UPPER", "message": sentence, "details": {}}}`.
"""

from typing import Any, ClassVar

from rest_framework import serializers

from accounts.models import User
from focus.contracts import Contract, Problem
from focus.money import two_places


class Reviv(Contract):
    slug = "reviv"
    # The guide: "403 insufficient_credits: not enough credits".
    statuses = {"insufficient_credits": 403, "spending_limit_reached": 403}

    # The guide's codes that are DRF's and simplejwt's own names.
    codes: ClassVar[dict[str, str]] = {
        "unauthenticated": "NOT_AUTHENTICATED",
        "invalid_token": "TOKEN_NOT_VALID",
        "token_expired": "TOKEN_NOT_VALID",
        "invalid_json": "PARSE_ERROR",
        "forbidden": "PERMISSION_DENIED",
        "internal_error": "INTERNAL_SERVER_ERROR",
    }

    envelope = {
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "properties": {
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                    "details": {"type": "object", "additionalProperties": {}},
                },
                "required": ["code", "message", "details"],
            }
        },
        "required": ["error"],
    }

    @classmethod
    def refusal(cls, problem: Problem) -> dict[str, Any]:
        code = cls.codes.get(problem.code, problem.code.upper())
        details = {**problem.facts, **problem.fields}
        return {"error": {"code": code, "message": problem.message, "details": details}}


class Person(serializers.ModelSerializer[User]):
    """The guide's `UserSerializer`: the user and their balance."""

    # Needs `credits_micro`, the balance, in the serializer's context.

    credit_balance = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = [
            "id",
            "email",
            "first_name",
            "last_name",
            "credit_balance",
            "free_preview_used",
            "social_share_unlock_used",
            "created_at",
        ]

    def get_credit_balance(self, user: User) -> str:
        return two_places(self.context["credits_micro"])
