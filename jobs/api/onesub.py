"""1sub guide, "Consume Credits", and the checkout behind its purchase flow."""

from typing import Any, ClassVar, cast

from drf_spectacular.utils import (
    OpenApiExample,
    extend_schema,
    extend_schema_serializer,
)
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.authentication import principal_of, user_of, visitor
from accounts.credentials.access import APPS, PRESENT, Access
from accounts.models import App
from accounts.partners import consents, first_party
from focus.contracts.fields import Credits, ExactText, Id
from focus.contracts.onesub import OneSub
from focus.limiting.limits import CONSUME
from focus.money import from_micro
from focus.web.routing import either_slash
from jobs import tool_purchases, usage


@extend_schema_serializer(component_name="Charge")
class ChargeBody(serializers.Serializer[Any]):
    user_id = Id(help_text="The user's id, from the answer of verify-user.")
    amount = Credits(positive=True, most=usage.MAX_AMOUNT)
    reason = ExactText(
        max_length=usage.LONGEST_REASON, help_text="What the user consumed."
    )
    idempotency_key = ExactText(
        max_length=usage.LONGEST_KEY, help_text="A key that no other request ever uses."
    )


@extend_schema_serializer(component_name="Charged")
class ChargedBody(serializers.Serializer[Any]):
    success = serializers.BooleanField()
    new_balance = Credits()
    transaction_id = serializers.UUIDField()


class ConsumeViewSet(OneSub, ViewSet):
    accepts = {"consume": Access(APPS)}
    limits = {"consume": (CONSUME,)}
    titles: ClassVar[dict[str, str]] = OneSub.titles | {
        "invalid_token": "Invalid API key",
        "token_expired": "Invalid API key",
    }
    messages: ClassVar[dict[str, str]] = OneSub.messages | {
        "invalid_token": "The provided API key is invalid or does not exist",
        "token_expired": "The provided API key is invalid or does not exist",
    }

    @extend_schema(
        summary="Consume a user's credits",
        request=ChargeBody,
        responses={200: ChargedBody, 400: None, 409: None},
        examples=[
            OpenApiExample(
                "One image",
                {
                    "user_id": "550e8400-e29b-41d4-a716-446655440000",
                    "amount": 10,
                    "reason": "Generated 1 image",
                    "idempotency_key": "unique-request-id-12345",
                },
                request_only=True,
            ),
            OpenApiExample(
                "Charged",
                {
                    "success": True,
                    "new_balance": 90,
                    "transaction_id": "880e8400-e29b-41d4-a716-446655440000",
                },
                response_only=True,
                status_codes=["200"],
            ),
        ],
    )
    def consume(self, request: Request) -> Response:
        """Charge at once, once per `idempotency_key` for ever.

        An identical repeat is 409 with `"is_duplicate": true` and with the first
        `transaction_id` and `new_balance`, because the charge stands. The same key with
        another request is 409 with `"is_duplicate": false`. A tool with the duplicate
        mode `replay` gets the first 200 again.
        """
        serializer = ChargeBody(data=request.data)
        serializer.is_valid(raise_exception=True)
        charge = serializer.validated_data
        app = cast(App, principal_of(request).app)
        first_party.refuse(app)
        consents.require(user_id=charge["user_id"], app_id=app.pk)
        charged = usage.charge(
            account_id=charge["user_id"],
            app=app,
            amount_micro=charge["amount"],
            reason=charge["reason"],
            key=charge["idempotency_key"],
            actor=f"app:{app.slug}",
        )
        headers = {"Idempotent-Replayed": "true"} if charged.repeated else {}
        return Response(
            {
                "success": True,
                "new_balance": from_micro(charged.balance_micro),
                "transaction_id": charged.movement_id,
            },
            headers=headers,
        )


class NewCheckout(serializers.Serializer[Any]):
    tool_id = Id()


class Checkout(serializers.Serializer[Any]):
    checkout_id = Id()


class Paid(serializers.Serializer[Any]):
    success = serializers.BooleanField()
    tool_url = serializers.CharField(
        help_text="The tool's address, with `token=` added."
    )
    tool_access_token = serializers.CharField(
        help_text="A token for verify-user, valid for one hour."
    )
    new_balance = Credits(help_text="Credits that the tool may still charge the buyer.")


class CheckoutViewSet(OneSub, ViewSet):
    accepts = {"create": Access(PRESENT), "process": Access(PRESENT)}

    @extend_schema(
        summary="Start buying a tool",
        request=NewCheckout,
        responses={200: Checkout},
    )
    def create(self, request: Request) -> Response:
        """Open a checkout at the tool's current price for half an hour. Nothing is
        charged. A repeat before the payment returns the same checkout.
        """
        serializer = NewCheckout(data=request.data)
        serializer.is_valid(raise_exception=True)
        purchase = tool_purchases.create(
            user=user_of(request), tool_id=serializer.validated_data["tool_id"]
        )
        return Response({"checkout_id": purchase.pk})

    @extend_schema(
        summary="Pay for a tool and open it",
        request=Checkout,
        responses={200: Paid, 400: None, 409: None},
    )
    def process(self, request: Request) -> Response:
        """Charge the checkout's price once, let the tool spend the buyer's credits, and
        return a token. A paid checkout returns a fresh token and charges nothing.
        """
        serializer = Checkout(data=request.data)
        serializer.is_valid(raise_exception=True)
        bought = tool_purchases.process(
            user=user_of(request),
            purchase_id=serializer.validated_data["checkout_id"],
            visitor=visitor(request._request),
        )
        return Response(
            {
                "success": True,
                "tool_url": bought.url,
                "tool_access_token": bought.token,
                "new_balance": from_micro(bought.balance.credits_micro),
            }
        )


urlpatterns = [
    *either_slash("v1/credits/consume", ConsumeViewSet.as_view({"post": "consume"})),
    *either_slash("checkout/create", CheckoutViewSet.as_view({"post": "create"})),
    *either_slash("checkout/process", CheckoutViewSet.as_view({"post": "process"})),
]
