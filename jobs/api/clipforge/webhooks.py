"""ClipForge guide, "Register Webhook": endpoints and their secrets.

The guide's flow needs the first of these routes. The others go beyond the guide.
"""

from typing import Any
from uuid import UUID

from django.core.validators import RegexValidator
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiResponse,
    extend_schema,
)
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.authentication import require_second_proof, user_of, visitor
from accounts.credentials.access import KEY_OR_JWT, Access
from focus.contracts.clipforge import ClipForge
from focus.contracts.fields import TrimmedText
from focus.contracts.replay import replayable, replayable_secret
from focus.web.routing import either_slash
from jobs.models import Endpoint
from jobs.webhooks import endpoints, outbox

NO_STORE = {"Cache-Control": "no-store"}
MINE = Access(KEY_OR_JWT)


class NewEndpoint(serializers.Serializer[Any]):
    url = TrimmedText(
        max_length=2048,
        help_text="An https address with a public host, on port 443 or a high port.",
    )
    events = serializers.ListField(
        child=TrimmedText(
            validators=[RegexValidator(r"^[!-~]+\Z")],
            max_length=100,
            help_text=f"For example {', '.join(outbox.TYPES)}.",
        ),
        min_length=1,
        max_length=endpoints.MOST_EVENTS,
        help_text="Unknown names are kept for event types to come.",
    )


class EndpointBody(serializers.Serializer[Any]):
    id = serializers.CharField()
    url = serializers.CharField()
    events = serializers.ListField(child=serializers.CharField())
    active = serializers.SerializerMethodField(
        help_text="false: the endpoint receives nothing."
    )
    disabledReason = serializers.SerializerMethodField(  # noqa: N815
        help_text="owner, staff, gone (410), asked, or failing (for a day)."
    )
    secretPromotesAt = serializers.DateTimeField(  # noqa: N815
        source="promotes_at",
        allow_null=True,
        help_text="When the new secret replaces the old one, during a rotation.",
    )
    createdAt = serializers.DateTimeField(source="created_at")  # noqa: N815

    def get_active(self, endpoint: Endpoint) -> bool:
        return endpoint.disabled_at is None and endpoint.deleted_at is None

    def get_disabledReason(self, endpoint: Endpoint) -> str | None:  # noqa: N802
        return endpoint.disabled_because or None


class EndpointWithSecret(EndpointBody):
    secret = serializers.CharField(
        help_text="whsec_…, the key of the endpoint's signatures."
    )


ENDPOINT = {
    "id": "0c7e5a52-6a33-4b2e-8f0e-6f7f9a1c2d3e",
    "url": "https://your-domain.com/webhook",
    "events": ["export.ready"],
    "active": True,
    "disabledReason": None,
    "secretPromotesAt": None,
    "createdAt": "2026-01-31T12:00:00Z",
}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="  # noqa: S105 — a sample
SHOWN = OpenApiExample(
    "Registered", value={**ENDPOINT, "secret": SECRET}, response_only=True
)
NOT_THERE = OpenApiResponse(description="You have no such endpoint.")
BY_SUPPORT = OpenApiResponse(description="Support disabled the endpoint.")


class EndpointViewSet(ClipForge, ViewSet):
    statuses = {
        **ClipForge.statuses,
        "no_rotation": 409,
        "second_proof_required": 403,
        "switched_off_by_support": 409,
    }
    accepts = {
        "list": MINE,
        "create": MINE,
        "destroy": MINE,
        "enable": MINE,
        "disable": MINE,
        "rotate": MINE,
        "promote": MINE,
        "cancel": MINE,
    }

    @extend_schema(
        summary="List webhook endpoints",
        responses={200: OpenApiResponse(EndpointBody(many=True), "Newest first.")},
    )
    def list(self, request: Request) -> Response:
        """List your endpoints, without their secrets."""
        rows = endpoints.listed(user=user_of(request))
        return Response(EndpointBody(rows, many=True).data)

    @extend_schema(
        summary="Register a webhook endpoint",
        request=NewEndpoint,
        responses={
            201: OpenApiResponse(EndpointWithSecret, "Registered."),
            200: OpenApiResponse(
                EndpointWithSecret, "The endpoint exists. The events were added."
            ),
            400: OpenApiResponse(description="Not an address that can be called."),
            409: BY_SUPPORT,
        },
        examples=[SHOWN],
    )
    @replayable_secret("secret")
    def create(self, request: Request) -> Response:
        """Subscribe `url` to `events` of your account and of the apps that you own. A
        known `url` gets the events in addition and keeps its endpoint and secret.
        """
        new = NewEndpoint(data=request.data)
        new.is_valid(raise_exception=True)
        require_second_proof(request)
        shown = endpoints.register(
            user=user_of(request),
            visitor=visitor(request._request),
            **new.validated_data,
        )
        return _with_secret(shown, status=201 if shown.created else 200)

    @extend_schema(
        summary="Delete a webhook endpoint",
        responses={200: EndpointBody, 404: NOT_THERE},
    )
    def destroy(self, request: Request, endpoint_id: UUID) -> Response:
        """End all deliveries to the endpoint, and erase its secret."""
        return self._change(endpoints.delete, request, endpoint_id)

    @extend_schema(
        summary="Enable a webhook endpoint",
        request=None,
        responses={200: EndpointBody, 404: NOT_THERE, 409: BY_SUPPORT},
    )
    @replayable
    def enable(self, request: Request, endpoint_id: UUID) -> Response:
        """Send events again from now on. `recover` sends the missed ones."""
        require_second_proof(request)
        return self._change(endpoints.enable, request, endpoint_id)

    @extend_schema(
        summary="Disable a webhook endpoint",
        request=None,
        responses={200: EndpointBody, 404: NOT_THERE},
    )
    @replayable
    def disable(self, request: Request, endpoint_id: UUID) -> Response:
        """Send nothing to the endpoint until it is enabled."""
        return self._change(endpoints.disable, request, endpoint_id)

    @extend_schema(
        summary="Rotate a webhook endpoint's secret",
        request=None,
        responses={200: EndpointWithSecret, 404: NOT_THERE},
    )
    @replayable_secret("secret")
    def rotate(self, request: Request, endpoint_id: UUID) -> Response:
        """Get a new secret. For 24 hours, or until you promote it, the old secret makes
        `X-Signature`, the new one `X-Signature-Next`, and both `webhook-signature`.
        """
        require_second_proof(request)
        return _with_secret(
            endpoints.rotate(
                user=user_of(request),
                endpoint_id=endpoint_id,
                visitor=visitor(request._request),
            )
        )

    @extend_schema(
        summary="Promote the new secret now",
        request=None,
        responses={200: EndpointBody, 404: NOT_THERE, 409: None},
    )
    @replayable
    def promote(self, request: Request, endpoint_id: UUID) -> Response:
        """End the old secret now."""
        require_second_proof(request)
        return self._change(endpoints.promote, request, endpoint_id)

    @extend_schema(
        summary="Cancel a rotation",
        request=None,
        responses={200: EndpointBody, 404: NOT_THERE, 409: None},
    )
    @replayable
    def cancel(self, request: Request, endpoint_id: UUID) -> Response:
        """Keep the old secret and discard the new one."""
        return self._change(endpoints.cancel_rotation, request, endpoint_id)

    def _change(self, rule: Any, request: Request, endpoint_id: UUID) -> Response:
        endpoint = rule(
            user=user_of(request),
            endpoint_id=endpoint_id,
            visitor=visitor(request._request),
        )
        return Response(EndpointBody(endpoint).data)


def _with_secret(shown: endpoints.Shown, status: int = 200) -> Response:
    body = {**EndpointBody(shown.endpoint).data, "secret": shown.secret}
    return Response(body, status=status, headers=NO_STORE)


_ONE = "webhooks/endpoints/<uuid:endpoint_id>"


def _post(route: str, view: Any, action: str) -> Any:
    return either_slash(route, view.as_view({"post": action}))


urlpatterns = [
    *either_slash(
        "webhooks/endpoints", EndpointViewSet.as_view({"get": "list", "post": "create"})
    ),
    *either_slash(_ONE, EndpointViewSet.as_view({"delete": "destroy"})),
    *_post(f"{_ONE}/enable", EndpointViewSet, "enable"),
    *_post(f"{_ONE}/disable", EndpointViewSet, "disable"),
    *_post(f"{_ONE}/rotate-secret", EndpointViewSet, "rotate"),
    *_post(f"{_ONE}/promote-secret", EndpointViewSet, "promote"),
    *_post(f"{_ONE}/cancel-rotation", EndpointViewSet, "cancel"),
]
