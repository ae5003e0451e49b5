"""Focus guide, "OAuth token helpers": a person's tokens elsewhere, and X's who am I."""

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
# X says when, in a header; its windows are of 15 minutes.
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
    # DRF's own `data` is for whoever renders one, and this is for the documents.
    data = XPerson(help_text="And what `user.fields` asked for.")  # type: ignore[assignment]


class XForbids(DomainError):
    """X believes the token and does not let it do this."""

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
    200: OpenApiResponse(ProviderTokenSerializer, "A token that works now."),
    404: OpenApiResponse(description="`not_linked`: there is no such link."),
    409: OpenApiResponse(
        description="`reconnect_required`: the provider asks for consent again, at "
        "`reconnect_url`."
    ),
    503: OpenApiResponse(description="Whoever keeps the token cannot answer."),
}


class ProviderTokenViewSet(TheFocus, ViewSet):
    statuses = {**TheFocus.statuses, "not_linked": 404, "reconnect_required": 409}
    accepts = {
        "x_token": Access(PEOPLE, scope="oauth:read", bound=Bound.FAMILY),
        "retrieve": Access(PEOPLE, scope="oauth:read", bound=Bound.FAMILY),
    }

    @extend_schema(summary="Get your X token", responses=RESPONSES, examples=[TOKEN])
    def x_token(self, request: Request) -> Response:
        """The access token of your linked X (Twitter) account."""
        return self._token(request, "x")

    @extend_schema(
        summary="Get a linked account's token", responses=RESPONSES, examples=[TOKEN]
    )
    def retrieve(self, request: Request, provider: str) -> Response:
        """The access token of your linked account at any provider, such as `google`."""
        return self._token(request, provider)

    def _token(self, request: Request, provider: str) -> Response:
        principal = principal_of(request)
        if principal.read_only:
            raise PermissionDenied(
                "Whoever acts in somebody's place gets no token.", code="read_only"
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
    # The Authorization header is X's here, and never looked at as one of ours.
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
                description="`Bearer ` and your X (Twitter) token. A credential of ours"
                " is refused and goes nowhere.",
            ),
            OpenApiParameter(
                "user.fields", str, description="Comma-separated, of X's user fields."
            ),
        ],
        responses={
            200: OpenApiResponse(XMe, "X's own answer."),
            401: OpenApiResponse(description="There is no token, or X refuses it."),
        },
        examples=[
            OpenApiExample(
                "Somebody",
                value={"data": {"id": "2244994945", "name": "Ann", "username": "ann"}},
                response_only=True,
            )
        ],
    )
    def me(self, request: Request) -> Response:
        """X's `GET /2/users/me`, with your own token of X's."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise x_profile.NotAnXToken("Send your X token as Authorization: Bearer …")
        reply = x_profile.me(
            token=token.strip(" "), fields=request.query_params.get("user.fields")
        )
        return Response(_answer(reply), headers=NO_STORE)


def _answer(reply: Reply) -> dict[str, Any]:
    """X's own words where it answers, ours where it refuses."""
    if reply.status == 200:
        return reply.json()
    if reply.status == 401:
        raise x_profile.NotAnXToken("X refuses this token.")
    if reply.status == 403:
        raise XForbids("X does not let this token read its person.")
    if reply.status == 429:
        raise Throttled(X_PATIENCE_SECONDS, "X has been asked too often.")
    if reply.status == 400:
        raise x_profile.InvalidFields("X does not understand this request.")
    raise ServiceDown(f"X answered {reply.status}.")


urlpatterns = [
    *either_slash("xToken", ProviderTokenViewSet.as_view({"get": "x_token"})),
    *either_slash(
        "oauthToken/<str:provider>", ProviderTokenViewSet.as_view({"get": "retrieve"})
    ),
    *either_slash("xMe", XMeViewSet.as_view({"get": "me"})),
]
