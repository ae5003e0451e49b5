"""ClipForge guide, "Authentication": register, login, and keys for servers."""

import uuid
from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.authentication import require_second_proof, user_of, visitor
from accounts.credentials import user_keys
from accounts.credentials.access import KEY_OR_JWT, PUBLIC, Access
from accounts.credentials.principals import Kind
from accounts.models import User, UserKey
from accounts.signin import passwords, sessions
from focus.contracts.clipforge import ClipForge
from focus.contracts.fields import ExactText, TrimmedText
from focus.contracts.replay import replayable_secret
from focus.limiting import limits
from focus.limiting.limits import AUTH, SIGN_IN
from focus.web.routing import either_slash

# The guide has no refresh token, so the access token lasts a day.
ACCESS_SECONDS = 24 * 3600
NO_STORE = {"Cache-Control": "no-store"}
# A key cannot create or delete keys, so a thief cannot keep access with new ones.
JWT_ONLY = Access(frozenset({Kind.JWT}))


class Registration(serializers.Serializer):
    email = TrimmedText(max_length=254)
    name = TrimmedText(max_length=150, required=False, default="", allow_blank=True)
    password = ExactText(max_length=1024)


class Login(serializers.Serializer):
    email = TrimmedText(max_length=254)
    password = ExactText(max_length=1024)


class Account(serializers.ModelSerializer[User]):
    id = serializers.CharField()
    name = serializers.SerializerMethodField()
    createdAt = serializers.DateTimeField(source="created_at")  # noqa: N815

    class Meta:
        model = User
        fields = ["id", "email", "name", "createdAt"]

    def get_name(self, user: User) -> str:
        return f"{user.first_name} {user.last_name}".strip()


class SignedIn(serializers.Serializer):
    access_token = serializers.CharField()
    token = serializers.CharField(help_text="The same token.")
    user = Account()


class NewKey(serializers.Serializer):
    name = TrimmedText(max_length=120, required=False, default="API key")
    expiresInDays = serializers.IntegerField(  # noqa: N815
        min_value=1,
        max_value=user_keys.DAYS_MAX,
        required=False,
        default=None,
        allow_null=True,
        help_text="Without it, the key works until it is deleted.",
    )


class MadeKey(serializers.Serializer):
    key = serializers.CharField()
    id = serializers.CharField()
    message = serializers.CharField()


class Key(serializers.ModelSerializer[UserKey]):
    id = serializers.CharField()
    createdAt = serializers.DateTimeField(source="created_at")  # noqa: N815
    expiresAt = serializers.DateTimeField(  # noqa: N815
        source="expires_at", allow_null=True
    )
    lastUsedAt = serializers.DateTimeField(  # noqa: N815
        source="last_used_at", allow_null=True
    )

    class Meta:
        model = UserKey
        fields = [
            "id",
            "name",
            "prefix",
            "last4",
            "createdAt",
            "expiresAt",
            "lastUsedAt",
        ]


EXAMPLE = OpenApiExample(
    "Signed in",
    value={
        "access_token": "eyJ0eXAiOiJhdCtqd3QifQ.eyJzdWIiOiI4ZDMifQ.MEU",
        "token": "eyJ0eXAiOiJhdCtqd3QifQ.eyJzdWIiOiI4ZDMifQ.MEU",
        "user": {
            "id": "8d3c1f0e-5b0a-4c39-9c1d-2f6f3f0d7a11",
            "email": "user@example.com",
            "name": "Ada Lovelace",
            "createdAt": "2026-01-31T12:00:00Z",
        },
    },
    response_only=True,
)


class EnterViewSet(ClipForge, ViewSet):
    # Ignore an expired token in the header: the client is here to get a new one.
    authentication_classes: list[Any] = []
    accepts = {"register": PUBLIC, "login": PUBLIC}
    limits = {"register": (AUTH,), "login": SIGN_IN}
    statuses = {**ClipForge.statuses, "email_taken": 409}

    @extend_schema(
        summary="Register",
        request=Registration,
        responses={
            201: OpenApiResponse(SignedIn, "Registered and signed in."),
            409: OpenApiResponse(description="This email already has an account."),
        },
        examples=[EXAMPLE],
    )
    def register(self, request: Request) -> Response:
        """Open an account with an email and a password of 8 characters or more."""
        serializer = Registration(data=request.data)
        serializer.is_valid(raise_exception=True)
        fields = serializer.validated_data
        first_name, _, last_name = " ".join(fields["name"].split()).partition(" ")
        user = passwords.register(
            email=fields["email"],
            password=fields["password"],
            first_name=first_name,
            last_name=last_name,
            visitor=visitor(request._request),
        )
        return _sign_in(request, user, status=201)

    @extend_schema(
        summary="Log in",
        request=Login,
        responses={
            200: OpenApiResponse(SignedIn, "Signed in."),
            401: OpenApiResponse(description="The email or the password is wrong."),
        },
        examples=[EXAMPLE],
    )
    def login(self, request: Request) -> Response:
        """Get a JWT of 24 hours."""
        serializer = Login(data=request.data)
        serializer.is_valid(raise_exception=True)
        user = passwords.authenticate(
            **serializer.validated_data, visitor=visitor(request._request)
        )
        return _sign_in(request, user)


class MeViewSet(ClipForge, ViewSet):
    accepts = {"me": Access(KEY_OR_JWT)}

    @extend_schema(
        summary="Who am I", responses={200: OpenApiResponse(Account, "Your account.")}
    )
    def me(self, request: Request) -> Response:
        """Return the account of the key or token."""
        return Response(Account(user_of(request)).data)


class KeyViewSet(ClipForge, ViewSet):
    statuses = {**ClipForge.statuses, "second_proof_required": 403}
    accepts = {"list": Access(KEY_OR_JWT), "create": JWT_ONLY, "destroy": JWT_ONLY}

    @extend_schema(
        summary="List API keys",
        responses={200: OpenApiResponse(Key(many=True), "Newest first.")},
    )
    def list(self, request: Request) -> Response:
        """List your live keys; the 200 newest."""
        rows = user_keys.live(user=user_of(request))[:200]
        return Response(Key(rows, many=True).data)

    @extend_schema(
        summary="Create an API key",
        request=NewKey,
        responses={201: OpenApiResponse(MadeKey, "The key, shown only once.")},
        examples=[
            OpenApiExample(
                "Created",
                value={
                    "key": "sk_live_3nK8sVbQ1xYw7TzRfJ0dGmHcLpUaEiO2wB4kQd",
                    "id": "0c7e5a52-6a33-4b2e-8f0e-6f7f9a1c2d3e",
                    "message": "Store this key now: it is not shown again.",
                },
                response_only=True,
            )
        ],
    )
    @replayable_secret("key")
    def create(self, request: Request) -> Response:
        """Create a key for your account. Send it as `X-Api-Key`."""
        serializer = NewKey(data=request.data)
        serializer.is_valid(raise_exception=True)
        require_second_proof(request)
        issued = user_keys.issue(
            user=user_of(request),
            name=serializer.validated_data["name"],
            days=serializer.validated_data["expiresInDays"],
            visitor=visitor(request._request),
        )
        limits.tally_of(request._request).remember_valid(issued.secret)
        body = {
            "key": issued.secret,
            "id": str(issued.key.pk),
            "message": "Store this key now: it is not shown again.",
        }
        return Response(body, status=201, headers=NO_STORE)

    @extend_schema(
        summary="Delete an API key",
        responses={200: OpenApiResponse(Key, "The deleted key.")},
    )
    def destroy(self, request: Request, key_id: uuid.UUID) -> Response:
        """Delete one of your keys. It stops working at once."""
        row = user_keys.revoke(
            user=user_of(request), key_id=key_id, visitor=visitor(request._request)
        )
        return Response(Key(row).data)


def _sign_in(request: Request, user: User, status: int = 200) -> Response:
    tokens = sessions.begin(
        user=user,
        client="clipforge",
        access_seconds=ACCESS_SECONDS,
        methods=["pwd"],
        visitor=visitor(request._request),
    )
    body = {
        "access_token": tokens.access_token,
        "token": tokens.access_token,
        "user": Account(user).data,
    }
    return Response(body, status=status, headers=NO_STORE)


urlpatterns = [
    *either_slash("auth/register", EnterViewSet.as_view({"post": "register"})),
    *either_slash("auth/login", EnterViewSet.as_view({"post": "login"})),
    *either_slash("auth/me", MeViewSet.as_view({"get": "me"})),
    *either_slash("api-keys", KeyViewSet.as_view({"get": "list", "post": "create"})),
    *either_slash("api-keys/<uuid:key_id>", KeyViewSet.as_view({"delete": "destroy"})),
]
