"""ClipForge guide, "Webhook Integration": list deliveries, and send them again.

The guide only describes receivers; these routes go beyond it.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.authentication import user_of
from accounts.credentials.access import KEY_OR_JWT, Access
from focus.contracts import cursors
from focus.contracts.clipforge import ClipForge
from focus.contracts.replay import replayable, unchanged
from focus.web.routing import either_slash
from jobs.models import Attempt, Delivery
from jobs.webhooks import redelivery, signatures

MAX_LIMIT = 200
MINE = Access(KEY_OR_JWT)


class DeliveryBody(serializers.Serializer[Any]):
    id = serializers.CharField()
    endpointId = serializers.CharField(source="endpoint_id")  # noqa: N815
    eventId = serializers.SerializerMethodField(  # noqa: N815
        help_text="The webhook-id of every attempt."
    )
    event = serializers.CharField(source="event.type")
    state = serializers.ChoiceField(choices=Delivery.State.choices)
    trigger = serializers.ChoiceField(choices=Delivery.Trigger.choices)
    attempts = serializers.IntegerField(help_text="Number of requests so far.")
    lastStatus = serializers.IntegerField(  # noqa: N815
        source="last_status", allow_null=True
    )
    lastError = serializers.CharField(source="last_error")  # noqa: N815
    nextAttemptAt = serializers.SerializerMethodField()  # noqa: N815
    createdAt = serializers.DateTimeField(source="created_at")  # noqa: N815
    endedAt = serializers.DateTimeField(source="ended_at", allow_null=True)  # noqa: N815

    def get_eventId(self, delivery: Delivery) -> str:  # noqa: N802
        return signatures.message_id(delivery.event_id)

    def get_nextAttemptAt(self, delivery: Delivery) -> datetime | None:  # noqa: N802
        waits = delivery.state == Delivery.State.PENDING and delivery.lease is None
        return delivery.due_at if waits else None


class AttemptBody(serializers.Serializer[Any]):
    n = serializers.IntegerField()
    trigger = serializers.ChoiceField(choices=Delivery.Trigger.choices)
    state = serializers.ChoiceField(choices=Attempt.State.choices)
    startedAt = serializers.DateTimeField(source="started_at")  # noqa: N815
    durationMs = serializers.IntegerField(  # noqa: N815
        source="duration_ms", allow_null=True
    )
    status = serializers.IntegerField(allow_null=True)
    error = serializers.CharField(
        help_text="For example timeout, dns, tls, refused or reset."
    )
    ip = serializers.IPAddressField(allow_null=True)
    answer = serializers.SerializerMethodField(
        help_text="The beginning of the answer's body."
    )

    def get_answer(self, attempt: Attempt) -> str:
        return bytes(attempt.answer).decode(errors="replace").replace("\0", "�")


class DeliveryWithAttempts(DeliveryBody):
    body = serializers.SerializerMethodField(
        help_text="The body of every attempt, as text."
    )
    attemptList = AttemptBody(many=True)  # noqa: N815

    def get_body(self, delivery: Delivery) -> str:
        return bytes(delivery.event.body).decode()


class Deliveries(serializers.Serializer[Any]):
    deliveries = DeliveryBody(many=True)
    nextCursor = serializers.CharField(allow_null=True)  # noqa: N815


class ListedDeliveries(serializers.Serializer[Any]):
    state = serializers.ChoiceField(choices=Delivery.State.choices, required=False)
    limit = serializers.IntegerField(min_value=1, default=50)
    cursor = serializers.CharField(required=False)


class Range(serializers.Serializer[Any]):
    since = serializers.DateTimeField(
        required=False, help_text="Deliveries created at or after this time."
    )
    until = serializers.DateTimeField(
        required=False, help_text="Deliveries created before this time."
    )


class Recovered(serializers.Serializer[Any]):
    recovered = serializers.IntegerField(help_text="Number of deliveries queued again.")


NOT_THERE = OpenApiResponse(description="You have no such endpoint.")


class DeliveryViewSet(ClipForge, ViewSet):
    statuses = {**ClipForge.statuses, "endpoint_disabled": 409}
    accepts = {
        "list": MINE,
        "test": MINE,
        "recover": MINE,
        "retrieve": MINE,
        "copy": MINE,
        "resend": MINE,
    }

    @extend_schema(
        summary="List an endpoint's deliveries",
        parameters=[
            OpenApiParameter("state", str, enum=Delivery.State.values),
            OpenApiParameter(
                "limit",
                {"type": "integer", "minimum": 1, "default": 50},
                description="Deliveries per page. A larger number counts as 200.",
            ),
            OpenApiParameter(
                "cursor", str, description="`nextCursor` of the previous page."
            ),
        ],
        responses={200: Deliveries, 404: NOT_THERE},
    )
    def list(self, request: Request, endpoint_id: UUID) -> Response:
        """List deliveries, newest first. Ended deliveries are kept for 30 days."""
        serializer = ListedDeliveries(data=request.query_params)
        serializer.is_valid(raise_exception=True)
        query = serializer.validated_data
        limit = min(query["limit"], MAX_LIMIT)
        found = redelivery.listed(
            user=user_of(request), endpoint_id=endpoint_id, state=query.get("state")
        )
        if "cursor" in query:
            found = found.filter(cursors.rest(query["cursor"]))
        page = [*found[: limit + 1]]
        more = page[limit - 1] if len(page) > limit else None
        return Response(
            {
                "deliveries": DeliveryBody(page[:limit], many=True).data,
                "nextCursor": cursors.after(more.created_at, more.pk) if more else None,
            }
        )

    @extend_schema(
        summary="Send a test event",
        request=None,
        responses={201: DeliveryBody, 404: NOT_THERE, 409: None},
    )
    @replayable
    def test(self, request: Request, endpoint_id: UUID) -> Response:
        """Queue a signed `test` event. Its delivery shows the result."""
        made = redelivery.test(user=user_of(request), endpoint_id=endpoint_id)
        return Response(DeliveryBody(made).data, status=201)

    @extend_schema(
        summary="Send failed deliveries again",
        request=Range,
        responses={200: Recovered, 404: NOT_THERE, 409: None},
    )
    @replayable
    def recover(self, request: Request, endpoint_id: UUID) -> Response:
        """Queue a period's failed deliveries again: oldest first, 10,000 a call."""
        period = Range(data=request.data)
        period.is_valid(raise_exception=True)
        count = redelivery.recover(
            user=user_of(request), endpoint_id=endpoint_id, **period.validated_data
        )
        answer = Response({"recovered": count})
        return answer if count else unchanged(answer)

    @extend_schema(
        summary="Read a delivery and its attempts",
        responses={
            200: DeliveryWithAttempts,
            404: OpenApiResponse(description="You have no such delivery."),
        },
    )
    def retrieve(self, request: Request, delivery_id: UUID) -> Response:
        """Read the body that is sent, and the result of each attempt."""
        found = redelivery.find(user=user_of(request), delivery_id=delivery_id)
        attempts = redelivery.attempts(delivery=found)
        found.attemptList = attempts  # type: ignore[attr-defined]
        return Response(DeliveryWithAttempts(found).data)

    @extend_schema(
        summary="Read a delivery's exact body",
        responses={
            200: OpenApiResponse(
                OpenApiTypes.OBJECT, "The exact bytes, with the headers that sign them."
            ),
            404: OpenApiResponse(description="You have no such delivery."),
        },
    )
    def copy(self, request: Request, delivery_id: UUID) -> HttpResponse:
        """Read the exact bytes of every attempt, signed now, to test a receiver."""
        body, headers = redelivery.signed_copy(
            user=user_of(request), delivery_id=delivery_id
        )
        return HttpResponse(body, content_type="application/json", headers=headers)

    @extend_schema(
        summary="Send a delivery again",
        request=None,
        responses={
            200: DeliveryBody,
            404: OpenApiResponse(description="You have no such delivery."),
            409: None,
        },
    )
    @replayable
    def resend(self, request: Request, delivery_id: UUID) -> Response:
        """Queue the same bytes under the same `webhook-id`, with five new tries."""
        made = redelivery.resend(user=user_of(request), delivery_id=delivery_id)
        return Response(DeliveryBody(made).data)


_ENDPOINT = "webhooks/endpoints/<uuid:endpoint_id>"
_ONE = "webhooks/deliveries/<uuid:delivery_id>"

urlpatterns = [
    *either_slash(f"{_ENDPOINT}/deliveries", DeliveryViewSet.as_view({"get": "list"})),
    *either_slash(f"{_ENDPOINT}/test", DeliveryViewSet.as_view({"post": "test"})),
    *either_slash(f"{_ENDPOINT}/recover", DeliveryViewSet.as_view({"post": "recover"})),
    *either_slash(_ONE, DeliveryViewSet.as_view({"get": "retrieve"})),
    *either_slash(f"{_ONE}/body", DeliveryViewSet.as_view({"get": "copy"})),
    *either_slash(f"{_ONE}/resend", DeliveryViewSet.as_view({"post": "resend"})),
]
