"""Focus guide, section 0: create, list, rotate and revoke personal access tokens."""

import uuid
from typing import Any, cast

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.authentication import principal_of, require_second_proof, user_of, visitor
from accounts.credentials import exposure, scopes, stored_secrets, tokens
from accounts.credentials.access import PEOPLE, PRESENT, PUBLIC, Access
from accounts.credentials.principals import Kind
from accounts.models import PersonalAccessToken
from focus.contracts.fields import TrimmedText
from focus.contracts.replay import replayable_secret
from focus.contracts.thefocus import TheFocus
from focus.limiting import limits
from focus.limiting.limits import EXPOSED
from focus.web.routing import either_slash

NO_STORE = {"Cache-Control": "no-store"}


class Token(serializers.ModelSerializer[PersonalAccessToken]):
    class Meta:
        model = PersonalAccessToken
        fields = [
            "id",
            "name",
            "prefix",
            "last4",
            "scopes",
            "created_at",
            "expires_at",
            "last_used_at",
        ]


class Tokens(serializers.Serializer):
    tokens = Token(many=True)


class NewToken(serializers.Serializer):
    name = TrimmedText(max_length=120)
    scopes = serializers.ListField(
        child=TrimmedText(max_length=64),
        required=False,
        max_length=64,
        help_text=f"Any of: {', '.join(scopes.SCOPES)}. All by default.",
    )
    expires_in_days = serializers.IntegerField(
        min_value=1,
        max_value=tokens.TOKEN_DAYS_MAX,
        required=False,
        default=tokens.TOKEN_DAYS,
    )


class Rotation(serializers.Serializer):
    overlap_seconds = serializers.ChoiceField(
        list(stored_secrets.OVERLAPS_SECONDS),
        required=False,
        default=0,
        help_text="How long the old token still works.",
    )


class MadeToken(Token):
    """A token with its secret."""

    token = serializers.CharField()

    class Meta(Token.Meta):
        fields = ["token", *Token.Meta.fields]


class Exposed(serializers.Serializer):
    tokens = serializers.ListField(
        child=TrimmedText(max_length=512),
        allow_empty=False,
        max_length=exposure.MOST,
    )


class Received(serializers.Serializer):
    received = serializers.IntegerField()


MADE = OpenApiExample(
    "Created",
    value={
        "token": "focus_pat_3nK8sVbQ1xYw7TzRfJ0dGmHcLpUaEiO2wB4kQd",
        "id": "0c7e5a52-6a33-4b2e-8f0e-6f7f9a1c2d3e",
        "name": "ci",
        "prefix": "focus_pat_",
        "last4": "4kQd",
        "scopes": ["jobs:read"],
        "created_at": "2026-01-31T12:00:00Z",
        "expires_at": "2026-05-01T12:00:00Z",
        "last_used_at": None,
    },
    response_only=True,
)


class TokenViewSet(TheFocus, ViewSet):
    statuses = {
        **TheFocus.statuses,
        "key_not_usable": 409,
        "second_proof_required": 403,
    }
    accepts = {
        "list": Access(PEOPLE, scope="account:read"),
        # A token cannot create tokens, so a thief cannot keep access with new ones.
        "create": Access(PRESENT),
        "rotate": Access(PRESENT),
        "revoke": Access(PRESENT),
        "current": Access(frozenset({Kind.PAT})),
        "revoke_current": Access(frozenset({Kind.PAT})),
    }

    @extend_schema(
        summary="List tokens", responses={200: OpenApiResponse(Tokens, "Newest first.")}
    )
    def list(self, request: Request) -> Response:
        """List your live personal access tokens; the 200 newest."""
        rows = tokens.live(user=user_of(request))[:200]
        return Response({"tokens": Token(rows, many=True).data})

    @extend_schema(
        summary="Create a token",
        request=NewToken,
        responses={201: OpenApiResponse(MadeToken, "The token, shown only once.")},
        examples=[
            OpenApiExample(
                "For a script",
                value={"name": "ci", "scopes": ["jobs:read"], "expires_in_days": 90},
                request_only=True,
            ),
            MADE,
        ],
    )
    @replayable_secret("token")
    def create(self, request: Request) -> Response:
        """Create a personal access token for a script. Its secret is shown once."""
        serializer = NewToken(data=request.data)
        serializer.is_valid(raise_exception=True)
        fields = serializer.validated_data
        require_second_proof(request)
        issued = tokens.issue(
            user=user_of(request),
            name=fields["name"],
            scopes=scopes.exactly(fields.get("scopes")),
            days=fields["expires_in_days"],
            visitor=visitor(request._request),
        )
        return _made(request, issued)

    @extend_schema(
        summary="Rotate a token",
        request=Rotation,
        responses={
            201: OpenApiResponse(MadeToken, "The new token, shown only once."),
            409: OpenApiResponse(
                description="`key_not_usable`: expired, revoked or already replaced."
            ),
        },
        examples=[MADE],
    )
    @replayable_secret("token")
    def rotate(self, request: Request, token_id: uuid.UUID) -> Response:
        """Replace a token by a new one with the same name, scopes and lifetime."""
        serializer = Rotation(data=request.data)
        serializer.is_valid(raise_exception=True)
        require_second_proof(request)
        issued = tokens.rotate(
            user=user_of(request),
            token_id=token_id,
            overlap_seconds=int(serializer.validated_data["overlap_seconds"]),
            visitor=visitor(request._request),
        )
        return _made(request, issued)

    @extend_schema(
        summary="Revoke a token",
        responses={200: OpenApiResponse(Token, "Revoked.")},
    )
    def revoke(self, request: Request, token_id: uuid.UUID) -> Response:
        """Revoke one of your tokens. It stops working at once."""
        row = tokens.revoke(
            user=user_of(request),
            token_id=token_id,
            visitor=visitor(request._request),
        )
        return Response(Token(row).data)

    @extend_schema(
        summary="Describe this token",
        responses={200: OpenApiResponse(Token, "The token that made this call.")},
    )
    def current(self, request: Request) -> Response:
        """Return the personal access token of this request."""
        row = PersonalAccessToken.objects.get(pk=_token_id(request))
        return Response(Token(row).data)

    @extend_schema(
        summary="Revoke this token",
        responses={200: OpenApiResponse(Token, "Revoked.")},
    )
    def revoke_current(self, request: Request) -> Response:
        """Revoke the token of this request: sign-out for a script."""
        return self.revoke(request, _token_id(request))


class ExposedViewSet(TheFocus, ViewSet):
    # Public: the finder of a leaked secret may have no account here.
    authentication_classes: list[Any] = []
    accepts = {"report": PUBLIC}
    limits = {"report": (EXPOSED,)}

    @extend_schema(
        summary="Report exposed tokens",
        request=Exposed,
        responses={
            202: OpenApiResponse(Received, "The answer does not say which were ours.")
        },
        examples=[
            OpenApiExample(
                "Found in a public repository",
                value={"tokens": ["focus_pat_3nK8sVbQ1xYw7TzRfJ0dGmHcLpUaEiO2wB4kQd"]},
                request_only=True,
            ),
            OpenApiExample("Received", value={"received": 1}, response_only=True),
        ],
    )
    def report(self, request: Request) -> Response:
        """Report tokens and keys that were found in public.

        Focus revokes those that are its own and live, and informs their owners.
        """
        serializer = Exposed(data=request.data)
        serializer.is_valid(raise_exception=True)
        found = serializer.validated_data["tokens"]
        exposure.report(secrets=found, visitor=visitor(request._request))
        return Response({"received": len(found)}, status=202)


def _made(request: Request, issued: tokens.IssuedToken) -> Response:
    limits.tally_of(request._request).remember_valid(issued.secret)
    row = {"token": issued.secret, **Token(issued.token).data}
    return Response(row, status=201, headers=NO_STORE)


def _token_id(request: Request) -> uuid.UUID:
    return cast(uuid.UUID, principal_of(request).token_id)


urlpatterns = [
    *either_slash("tokens", TokenViewSet.as_view({"get": "list", "post": "create"})),
    *either_slash(
        "tokens/current",
        TokenViewSet.as_view({"get": "current", "delete": "revoke_current"}),
    ),
    *either_slash("tokens/report-exposed", ExposedViewSet.as_view({"post": "report"})),
    *either_slash("tokens/<uuid:token_id>", TokenViewSet.as_view({"delete": "revoke"})),
    *either_slash(
        "tokens/<uuid:token_id>/rotate", TokenViewSet.as_view({"post": "rotate"})
    ),
]
