"""Focus guide, "OAuth token helpers": a user's provider tokens, and X's users/me."""

from typing import Any

from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
)
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied, Throttled
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.authentication import principal_of, user_of
from accounts.credentials.access import PEOPLE, PUBLIC, Access, Bound
from accounts.links import provider_tokens, x_profile
from accounts.providers.outbound import Reply, ServiceDown
from focus.contracts.thefocus import TheFocus
from focus.errors import DomainError
from focus.limiting.limits import X_ME
from focus.web.routing import either_slash

NO_STORE = {"Cache-Control": "no-store"}
# X's rate limit windows last 15 minutes. We do not forward its reset header.
X_PATIENCE_SECONDS = 60


class ProviderTokenSerializer(serializers.Serializer):
    provider = serializers.CharField()
    token = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    expires_at = serializers.DateTimeField(allow_null=True)


class XPerson(serializers.Serializer):
    id = serializers.CharField()
    name = serializers.CharField()
    username = serializers.CharField()


class XMe(serializers.Serializer):
    # Shadows DRF's `data`: this serializer only documents the response.
    data = XPerson(help_text="With the requested `user.fields`.")  # type: ignore[assignment]


class XForbids(DomainError):
    """X accepts the token, but it lacks the permission."""

    code = "forbidden"


TOKEN = OpenApiExample(
    "Linked",
    value={
        "provider": "x",
        "token": "bWRKa1h3b0pVcGZ2TkxkRXh0Y1JmdE5qT2t4bA",
        "scopes": ["tweet.read", "users.read"],
        "expires_at": "2026-01-31T14:00:00Z",
    },
    response_only=True,
    status_codes=["200"],
)
RESPONSES = {
    200: OpenApiResponse(ProviderTokenSerializer, "A valid access token."),
    404: OpenApiResponse(
        description="`not_linked`: no account of this provider is linked."
    ),
    409: OpenApiResponse(
        description="`reconnect_required`: the provider needs your consent again, at "
        "`reconnect_url`."
    ),
    503: OpenApiResponse(description="The provider or Clerk does not answer."),
}


class ProviderTokenViewSet(TheFocus, ViewSet):
    statuses = {**TheFocus.statuses, "not_linked": 404, "reconnect_required": 409}
    accepts = {
        "x_token": Access(PEOPLE, scope="oauth:read", bound=Bound.FAMILY),
        "retrieve": Access(PEOPLE, scope="oauth:read", bound=Bound.FAMILY),
    }

    @extend_schema(summary="Get your X token", responses=RESPONSES, examples=[TOKEN])
    def x_token(self, request: Request) -> Response:
        """Get the access token of your linked X (Twitter) account."""
        return self._token(request, "x")

    @extend_schema(
        summary="Get a linked account's token", responses=RESPONSES, examples=[TOKEN]
    )
    def retrieve(self, request: Request, provider: str) -> Response:
        """Get the access token of your linked account, for example at `google`."""
        return self._token(request, provider)

    def _token(self, request: Request, provider: str) -> Response:
        principal = principal_of(request)
        if principal.read_only:
            raise PermissionDenied(
                "Support cannot get a user's token.", code="read_only"
            )
        user = user_of(request)
        found = provider_tokens.find(user=user, provider=provider)
        body = {
            "provider": provider,
            "token": found.token,
            "scopes": found.scopes,
            "expires_at": found.expires_at,
        }
        return Response(body, headers=NO_STORE)


class XMeViewSet(TheFocus, ViewSet):
    # The Authorization header holds X's token, so our authentication must not read it.
    authentication_classes: list[Any] = []
    accepts = {"me": PUBLIC}
    limits = {"me": (X_ME,)}

    @extend_schema(
        summary="Ask X who you are",
        parameters=[
            OpenApiParameter(
                "Authorization",
                str,
                OpenApiParameter.HEADER,
                required=True,
                description="`Bearer ` and your X (Twitter) token. A Focus credential"
                " is refused and never sent to X.",
            ),
            OpenApiParameter(
                "user.fields", str, description="X's user fields, comma-separated."
            ),
        ],
        responses={
            200: OpenApiResponse(XMe, "X's own answer."),
            401: OpenApiResponse(description="There is no token, or X refuses it."),
        },
        examples=[
            OpenApiExample(
                "A user",
                value={"data": {"id": "2244994945", "name": "Ann", "username": "ann"}},
                response_only=True,
            )
        ],
    )
    def me(self, request: Request) -> Response:
        """Forward X's `GET /2/users/me` with your own X token."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise x_profile.NotAnXToken("Send your X token as Authorization: Bearer …")
        reply = x_profile.me(
            token=token.strip(" "), fields=request.query_params.get("user.fields")
        )
        return Response(_answer(reply), headers=NO_STORE)


def _answer(reply: Reply) -> dict[str, Any]:
    """Return X's answer; raise our own refusal for X's."""
    if reply.status == 200:
        return reply.json()
    if reply.status == 401:
        raise x_profile.NotAnXToken("X refuses this token.")
    if reply.status == 403:
        raise XForbids("This X token may not read its user.")
    if reply.status == 429:
        raise Throttled(X_PATIENCE_SECONDS, "X's rate limit is reached.")
    if reply.status == 400:
        raise x_profile.InvalidFields("X rejects this request as invalid.")
    raise ServiceDown(f"X answered {reply.status}.")


urlpatterns = [
    *either_slash("xToken", ProviderTokenViewSet.as_view({"get": "x_token"})),
    *either_slash(
        "oauthToken/<str:provider>", ProviderTokenViewSet.as_view({"get": "retrieve"})
    ),
    *either_slash("xMe", XMeViewSet.as_view({"get": "me"})),
]
