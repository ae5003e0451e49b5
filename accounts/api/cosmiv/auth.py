"""Cosmiv guide, "Authentication API": register, login and refresh."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.authentication import visitor
from accounts.credentials.access import PUBLIC
from accounts.models import User
from accounts.signin import passwords, sessions, usernames
from focus.contracts.cosmiv import Cosmiv
from focus.contracts.fields import ExactText, TrimmedText
from focus.limiting.limits import AUTH, FORGERIES, SIGN_IN
from focus.web.routing import either_slash

# The guide's flow has no refresh, so the access token lasts a day.
ACCESS_SECONDS = 24 * 3600


class Registration(serializers.Serializer):
    email = TrimmedText(max_length=254)
    username = TrimmedText(
        max_length=254,
        required=False,
        default=None,
        help_text="A second name to log in with. By default, the part of the email "
        "before `@`, made unique.",
    )
    password = ExactText(max_length=1024)


class Login(serializers.Serializer):
    """One of the three names. The last two accept a username or an email."""

    email = TrimmedText(max_length=254, required=False)
    username_or_email = TrimmedText(max_length=254, required=False)
    username = TrimmedText(max_length=254, required=False)
    password = ExactText(max_length=1024)

    def validate(self, attrs: dict[str, str]) -> dict[str, str]:
        if not {"email", "username_or_email", "username"} & set(attrs):
            raise serializers.ValidationError({"email": ["This field is required."]})
        return attrs


class Refresh(serializers.Serializer):
    refresh_token = TrimmedText(max_length=4096)


class Named(serializers.ModelSerializer[User]):
    user_id = serializers.UUIDField(source="pk")

    class Meta:
        model = User
        fields = ["user_id", "username", "email", "is_active"]


class SignedIn(serializers.Serializer):
    access_token = serializers.CharField()
    refresh_token = serializers.CharField()
    token_type = serializers.ChoiceField(["bearer"])
    user_id = serializers.UUIDField()
    user = Named()


EXAMPLE = OpenApiExample(
    "Signed in",
    value={
        "access_token": "eyJ0eXAiOiJhdCtqd3QifQ.eyJzdWIiOiI4ZDMifQ.MEU",
        "refresh_token": "eyJ0eXAiOiJydCtqd3QifQ.eyJzdWIiOiI4ZDMifQ.MEQ",
        "token_type": "bearer",
        "user_id": "8d3c1f0e-5b0a-4c39-9c1d-2f6f3f0d7a11",
        "user": {
            "user_id": "8d3c1f0e-5b0a-4c39-9c1d-2f6f3f0d7a11",
            "username": "user",
            "email": "user@example.com",
            "is_active": True,
        },
    },
    response_only=True,
)


class AuthViewSet(Cosmiv, ViewSet):
    # Ignore an expired token in the header: the client is here to get a new one.
    authentication_classes: list[Any] = []
    accepts = {"register": PUBLIC, "login": PUBLIC, "refresh": PUBLIC}
    limits = {"register": (AUTH,), "login": SIGN_IN, "refresh": (AUTH, FORGERIES)}
    codes = {
        **Cosmiv.codes,
        "invalid_credentials": "AUTHENTICATION_REQUIRED",
    }

    @extend_schema(
        summary="Register",
        request=Registration,
        responses={201: OpenApiResponse(SignedIn, "Registered and signed in.")},
        examples=[EXAMPLE],
    )
    def register(self, request: Request) -> Response:
        """Open an account with an email and a password of 8 characters or more.

        A `username` is optional, has no `@`, and can log in as the email can.
        """
        serializer = Registration(data=request.data)
        serializer.is_valid(raise_exception=True)
        try:
            user = passwords.register(
                **serializer.validated_data, visitor=visitor(request._request)
            )
        except (passwords.InvalidEmail, passwords.EmailTaken) as refusal:
            raise serializers.ValidationError({"email": [refusal.message]}) from refusal
        except passwords.WeakPassword as weak:
            raise serializers.ValidationError({"password": [weak.message]}) from weak
        except (usernames.InvalidUsername, usernames.UsernameTaken) as refusal:
            raise serializers.ValidationError(
                {"username": [refusal.message]}
            ) from refusal
        return self._sign_in(request, user, status=201)

    @extend_schema(
        summary="Log in",
        request=Login,
        responses={
            200: OpenApiResponse(SignedIn, "Signed in."),
            401: OpenApiResponse(
                description="The email, the username or the password is wrong."
            ),
        },
        examples=[EXAMPLE],
    )
    def login(self, request: Request) -> Response:
        """Sign in by `email`, `username` or `username_or_email`."""
        serializer = Login(data=request.data)
        serializer.is_valid(raise_exception=True)
        fields = serializer.validated_data
        user = passwords.authenticate(
            email=fields.get("email", ""),
            name=fields.get("username_or_email") or fields.get("username", ""),
            password=fields["password"],
            visitor=visitor(request._request),
        )
        return self._sign_in(request, user)

    @extend_schema(
        summary="Refresh",
        request=Refresh,
        responses={
            200: OpenApiResponse(SignedIn, "The next pair of tokens."),
            401: OpenApiResponse(
                description="The refresh token is expired, revoked or superseded."
            ),
        },
        examples=[EXAMPLE],
    )
    def refresh(self, request: Request) -> Response:
        """Exchange a refresh token. The old one works until the new one is used."""
        serializer = Refresh(data=request.data)
        serializer.is_valid(raise_exception=True)
        tokens = sessions.refresh(
            refresh_token=serializer.validated_data["refresh_token"],
            access_seconds=ACCESS_SECONDS,
            visitor=visitor(request._request),
        )
        return _signed_in(tokens)

    def _sign_in(self, request: Request, user: User, status: int = 200) -> Response:
        tokens = sessions.begin(
            user=user,
            client="cosmiv",
            access_seconds=ACCESS_SECONDS,
            methods=["pwd"],
            visitor=visitor(request._request),
        )
        return _signed_in(tokens, status)


def _signed_in(tokens: sessions.SessionTokens, status: int = 200) -> Response:
    user = tokens.session.user
    usernames.ensure(user)
    body = {
        "access_token": tokens.access_token,
        "refresh_token": tokens.refresh_token,
        "token_type": "bearer",
        "user_id": str(user.pk),
        "user": Named(user).data,
    }
    return Response(body, status=status, headers={"Cache-Control": "no-store"})


urlpatterns = [
    *either_slash("auth/register", AuthViewSet.as_view({"post": "register"})),
    *either_slash("auth/login", AuthViewSet.as_view({"post": "login"})),
    *either_slash("auth/refresh", AuthViewSet.as_view({"post": "refresh"})),
]
