"""Endpoints of the reviv guide's "Credits / Payments": packs and Stripe's webhook."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_serializer,
)
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.authentication import user_of
from accounts.credentials.access import Access
from accounts.credentials.principals import Kind
from focus.contracts.fields import TrimmedText
from focus.contracts.replay import resumable
from focus.contracts.reviv import Reviv
from focus.web.routing import either_slash
from payments import packs
from payments.api.receiving import Receipt, Receiver
from payments.models import Pack

PERSON = Access(frozenset({Kind.JWT}))


@extend_schema_serializer(component_name="Pack")
class PackOnSale(serializers.ModelSerializer[Pack]):
    price_dollars = serializers.CharField()

    class Meta:
        model = Pack
        fields = ["id", "sku", "credits", "price_cents", "price_dollars", "active"]


class PackChoice(serializers.Serializer[Any]):
    sku = TrimmedText(max_length=40)


@extend_schema_serializer(component_name="Checkout")
class PackCheckoutPage(serializers.Serializer[Any]):
    checkout_url = serializers.URLField()


class PackViewSet(Reviv, ViewSet):
    accepts = {"list": PERSON, "purchase": PERSON}
    statuses = {**Reviv.statuses, "unknown_pack": 404}

    @extend_schema(
        summary="List the packs",
        responses={
            200: OpenApiResponse(PackOnSale(many=True), "By credits, fewest first.")
        },
        examples=[
            OpenApiExample(
                "The smallest pack",
                value={
                    "id": 1,
                    "sku": "PACK_5",
                    "credits": 5,
                    "price_cents": 499,
                    "price_dollars": "$4.99",
                    "active": True,
                },
                response_only=True,
            )
        ],
    )
    def list(self, request: Request) -> Response:
        """The packs that can be bought now."""
        return Response(PackOnSale(packs.on_sale(), many=True).data)

    @extend_schema(
        summary="Buy a pack",
        request=PackChoice,
        responses={
            200: OpenApiResponse(PackCheckoutPage, "Where to pay."),
            404: OpenApiResponse(description="`UNKNOWN_PACK`."),
            503: OpenApiResponse(description="Stripe does not respond right now."),
        },
        examples=[
            OpenApiExample("A purchase", value={"sku": "PACK_5"}, request_only=True),
            OpenApiExample(
                "Where to pay",
                value={"checkout_url": "https://checkout.stripe.com/c/pay/cs_test_1"},
                response_only=True,
                status_codes=["200"],
            ),
        ],
    )
    @resumable
    def purchase(self, request: Request, *, once: bytes | None) -> Response:
        """Returns a page of Stripe's where the user pays the pack. The credits are
        added after Stripe reports the payment.
        """
        serializer = PackChoice(data=request.data)
        serializer.is_valid(raise_exception=True)
        sku = serializer.validated_data["sku"]
        till = packs.buy(account=user_of(request), sku=sku, once=once)
        return Response({"checkout_url": till.url})


class WebhookViewSet(Receiver, Reviv, ViewSet):
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
        """Only Stripe calls it. A worker handles the stored event a moment later."""
        return self._receive(request)


urlpatterns = [
    *either_slash("credits/packs/", PackViewSet.as_view({"get": "list"})),
    *either_slash("credits/purchase/", PackViewSet.as_view({"post": "purchase"})),
    *either_slash("credits/webhook/", WebhookViewSet.as_view({"post": "receive"})),
]
