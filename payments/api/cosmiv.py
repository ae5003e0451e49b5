"""Cosmiv guide, "Billing API" and "Webhooks"."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
)
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from focus.contracts.cosmiv import Cosmiv
from focus.routing import either_slash
from payments.receiving import Receipt, Receiver


class WebhookViewSet(Receiver, Cosmiv, ViewSet):
    @extend_schema(
        summary="Stripe's webhook",
        parameters=[
            OpenApiParameter(
                "Stripe-Signature", str, OpenApiParameter.HEADER, required=True
            )
        ],
        request=OpenApiTypes.OBJECT,
        responses={
            200: OpenApiResponse(Receipt, "Stored, now or before."),
            400: OpenApiResponse(description="`INVALID_SIGNATURE`."),
        },
        examples=[
            OpenApiExample("Stored", value={"received": True}, response_only=True)
        ],
    )
    def receive(self, request: Request) -> Response:
        """For Stripe alone; the same receiver as reviv's `/api/credits/webhook/`."""
        return self._receive(request)


urlpatterns = [
    *either_slash("v2/billing/webhook", WebhookViewSet.as_view({"post": "receive"})),
]
