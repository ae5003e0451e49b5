"""1sub guide, "Verify User Token": identify a tool's visitor by their token."""

from datetime import datetime
from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.credentials.access import PUBLIC
from focus.contracts.fields import ExactText
from focus.contracts.onesub import OneSub
from focus.limiting.limits import VERIFY_USER
from focus.web.routing import either_slash
from jobs import tool_purchases

LONGEST_TOKEN = 4096


class Asked(serializers.Serializer[Any]):
    token = ExactText(max_length=LONGEST_TOKEN)


class VerifiedUser(serializers.Serializer[Any]):
    valid = serializers.BooleanField()
    user_id = serializers.UUIDField()
    tool_id = serializers.UUIDField()
    checkout_id = serializers.UUIDField()
    expires_at = serializers.DateTimeField()


class VerifyUserViewSet(OneSub, ViewSet):
    # The token in the body is the only credential, so no header is read. A wrong token
    # counts only against the limit of 60 requests a minute.
    authentication_classes = ()
    accepts = {"verify": PUBLIC}
    limits = {"verify": (VERIFY_USER,)}

    @extend_schema(
        summary="Verify a user's token",
        request=Asked,
        responses={200: VerifiedUser, 401: None, 403: None},
        examples=[
            OpenApiExample(
                "A token from the redirect",
                {"token": "eyJhbGciOiJFUzI1NiIs..."},
                request_only=True,
            ),
            OpenApiExample(
                "Verified",
                {
                    "valid": True,
                    "user_id": "550e8400-e29b-41d4-a716-446655440000",
                    "tool_id": "660e8400-e29b-41d4-a716-446655440000",
                    "checkout_id": "770e8400-e29b-41d4-a716-446655440000",
                    "expires_at": "2026-11-05T15:30:00.000Z",
                },
                response_only=True,
                status_codes=["200"],
            ),
        ],
    )
    def verify(self, request: Request) -> Response:
        """Return the token's user. You may repeat the call until the token expires."""
        serializer = Asked(data=request.data)
        serializer.is_valid(raise_exception=True)
        found = tool_purchases.verify(token=serializer.validated_data["token"])
        return Response(
            {
                "valid": True,
                "user_id": found.user_id,
                "tool_id": found.tool_id,
                "checkout_id": found.purchase_id,
                "expires_at": _moment(found.expires_at),
            }
        )


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


urlpatterns = [
    *either_slash("v1/verify-user", VerifyUserViewSet.as_view({"post": "verify"}))
]
