"""reviv guide, "Auth": refresh by cookie or body, the current user, sign-out."""

import uuid
from contextlib import suppress
from typing import Any, cast

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.api.reviv import refresh_cookie
from accounts.authentication import (
    Authenticated,
    Credentials,
    bearer_token,
    principal_of,
    user_of,
    visitor,
)
from accounts.credentials import jwt
from accounts.credentials.access import PUBLIC, Access
from accounts.credentials.principals import InvalidToken, Kind, Principal, TokenExpired
from accounts.models import User
from accounts.providers import clerk
from accounts.same_site import require_first_party
from accounts.signin import sessions, usernames
from focus.contracts.fields import TrimmedText
from focus.contracts.reviv import Person, Reviv
from focus.errors import DomainError, NotFound
from focus.limiting.limits import FORGERIES, GENERAL
from focus.web.routing import either_slash
from wallet import ledger

# The guide: "Access token lifetime is 15 minutes".
ACCESS_SECONDS = 15 * 60
NO_STORE = {"Cache-Control": "no-store"}


class MissingRefresh(DomainError):
    code = "missing_refresh"


class InvalidRefresh(DomainError):
    code = "invalid_refresh"


class DeadCookie(InvalidRefresh):
    """The cookie's token is invalid. It hides a valid one in the body, so delete it."""


class Refresh(serializers.Serializer):
    refresh = TrimmedText(
        max_length=4096,
        required=False,
        default="",
        allow_blank=True,
        allow_null=True,
        help_text="Ignored if the cookie `reviv_refresh` is sent.",
    )


class Refreshed(serializers.Serializer):
    access = serializers.CharField()
    refresh = serializers.CharField(
        required=False, help_text="Only without the cookie; else the cookie has it."
    )


class SignedOut(serializers.Serializer):
    message = serializers.CharField()


class SignedOnly(Credentials):
    """Accepts a JWT that we signed, even if its session has ended.

    For sign-out: a client that lost the first response repeats it, and its session has
    already ended.
    """

    def authenticate(self, request: Any) -> Authenticated | None:
        meta = request._request.META
        try:
            token = bearer_token(meta.get("HTTP_AUTHORIZATION", ""))
        except InvalidToken:
            token = ""
        is_jwt = token.count(".") == 2 and not clerk.is_clerk_token(token)
        if "HTTP_X_API_KEY" in meta or not is_jwt:
            return super().authenticate(request)
        try:
            claims = jwt.read(jwt.ACCESS, token)
        except (InvalidToken, TokenExpired) as refusal:
            raise AuthenticationFailed(refusal.message, code=refusal.code) from refusal
        if "azp" in claims:
            # A token that is bound to an app must not end the user's whole session.
            return super().authenticate(request)
        user = User(pk=uuid.UUID(claims["sub"]))
        session_id = uuid.UUID(claims["sid"])
        return user, Principal(Kind.JWT, user=user, session_id=session_id)


class RefreshViewSet(Reviv, ViewSet):
    # Ignore the access token in the header: it has expired.
    authentication_classes: list[Any] = []
    accepts = {"refresh": PUBLIC}
    limits = {"refresh": (GENERAL, FORGERIES)}

    @extend_schema(
        summary="Refresh",
        request=Refresh,
        responses={
            200: OpenApiResponse(Refreshed, "A new access token."),
            400: OpenApiResponse(
                description="`MISSING_REFRESH`, or `INVALID_REFRESH`: sign in again."
            ),
            403: OpenApiResponse(
                description="Another site may not use the browser's cookie."
            ),
        },
        examples=[
            OpenApiExample(
                "By cookie",
                value={"access": "eyJ0eXAiOiJhdCtqd3QifQ.eyJzdWIiOiI4ZDMifQ.MEU"},
                response_only=True,
                status_codes=["200"],
            )
        ],
    )
    def refresh(self, request: Request) -> Response:
        """Get a new access token by the cookie `reviv_refresh`, or else by the body.

        A replaced refresh token works until its successor is used.
        """
        serializer = Refresh(data=request.data)
        by_cookie = refresh_cookie.read(request._request)
        if by_cookie is not None:
            require_first_party(request._request)
            tokens = self._refresh(request, by_cookie, DeadCookie)
            response = Response({"access": tokens.access_token}, headers=NO_STORE)
            refresh_cookie.put(response, tokens)
            return response
        serializer.is_valid(raise_exception=True)
        by_body = serializer.validated_data["refresh"]
        if not by_body:
            raise MissingRefresh("Send the cookie reviv_refresh or the field refresh.")
        tokens = self._refresh(request, by_body, InvalidRefresh)
        body = {"access": tokens.access_token, "refresh": tokens.refresh_token}
        return Response(body, headers=NO_STORE)

    def _refresh(
        self, request: Request, token: str, refused: type[InvalidRefresh]
    ) -> sessions.SessionTokens:
        try:
            return sessions.refresh(
                refresh_token=token,
                access_seconds=ACCESS_SECONDS,
                visitor=visitor(request._request),
            )
        except (InvalidToken, TokenExpired) as refusal:
            raise refused(refusal.message) from refusal

    def answer(self, exc: Exception, context: Any) -> Response | None:
        response = super().answer(exc, context)
        if response is not None and isinstance(exc, DeadCookie):
            refresh_cookie.drop(response)
        return response


class MeViewSet(Reviv, ViewSet):
    accepts = {"me": Access(frozenset({Kind.JWT}))}

    @extend_schema(
        summary="Who am I",
        responses={200: OpenApiResponse(Person, "The token's user.")},
        examples=[
            OpenApiExample(
                "A user",
                value={
                    "id": "8d3c1f0e-5b0a-4c39-9c1d-2f6f3f0d7a11",
                    "email": "user@example.com",
                    "first_name": "Ada",
                    "last_name": "Lovelace",
                    "credit_balance": "4.00",
                    "free_preview_used": False,
                    "social_share_unlock_used": False,
                    "created_at": "2026-01-31T12:00:00Z",
                },
                response_only=True,
            )
        ],
    )
    def me(self, request: Request) -> Response:
        """Return the token's user and their balance.

        Without the trailing slash, a session of Cosmiv's API also gets `user_id` and
        `username`.
        """
        user = user_of(request)
        credits_micro = ledger.balance_at(
            account_id=user.pk, slug="reviv"
        ).credits_micro
        person = dict(Person(user, context={"credits_micro": credits_micro}).data)
        if not request.path.endswith("/") and self._is_cosmivs(request):
            person |= {"user_id": str(user.pk), "username": usernames.ensure(user)}
        return Response(person)

    def _is_cosmivs(self, request: Request) -> bool:
        session_id = cast(uuid.UUID, principal_of(request).session_id)
        return sessions.find(session_id=session_id).client == "cosmiv"


class LogoutViewSet(Reviv, ViewSet):
    authentication_classes = (SignedOnly,)
    accepts = {"logout": Access(frozenset({Kind.JWT}))}

    @extend_schema(
        summary="Log out",
        request=None,
        responses={200: OpenApiResponse(SignedOut, "Signed out, now or earlier.")},
        examples=[
            OpenApiExample(
                "Signed out",
                value={"message": "Successfully logged out"},
                response_only=True,
            )
        ],
    )
    def logout(self, request: Request) -> Response:
        """End the session, its access and refresh tokens, and delete the cookie."""
        principal = principal_of(request)
        with suppress(NotFound):
            sessions.end(
                user_id=user_of(request).pk,
                session_id=cast(uuid.UUID, principal.session_id),
                visitor=visitor(request._request),
            )
        response = Response({"message": "Successfully logged out"}, headers=NO_STORE)
        refresh_cookie.drop(response)
        return response


urlpatterns = [
    *either_slash("auth/token/refresh/", RefreshViewSet.as_view({"post": "refresh"})),
    *either_slash("auth/me/", MeViewSet.as_view({"get": "me"})),
    *either_slash("auth/logout/", LogoutViewSet.as_view({"post": "logout"})),
]
