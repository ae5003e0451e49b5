"""The endpoints of the Cosmiv guide's "Billing API" and "Webhooks"."""

from collections.abc import Sequence
from decimal import Decimal
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
from accounts.credentials.access import PUBLIC, Access
from accounts.credentials.principals import Kind
from focus.contracts.cosmiv import Cosmiv
from focus.contracts.fields import TrimmedText
from focus.contracts.replay import resumable
from focus.web.routing import either_slash
from payments.api.receiving import Receipt, Receiver
from payments.models import Plan, Subscription
from payments.plans import catalog as plan_catalog
from payments.plans import choosing, subscriptions

PERSON = Access(frozenset({Kind.JWT}))


@extend_schema_serializer(component_name="Plan")
class OfferedPlan(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()
    price = serializers.FloatField(help_text="Dollars a month.")
    features = serializers.ListField(child=serializers.CharField())
    credits = serializers.IntegerField(help_text="Credits that each paid month adds.")
    stripe_price_id = serializers.CharField(allow_null=True)


class Plans(serializers.Serializer[Any]):
    plans = OfferedPlan(many=True)


class Choice(serializers.Serializer[Any]):
    plan = TrimmedText(max_length=40)


@extend_schema_serializer(component_name="Checkout")
class PlanCheckoutPage(serializers.Serializer[Any]):
    checkout_url = serializers.URLField()
    session_id = serializers.CharField()


class Portal(serializers.Serializer[Any]):
    portal_url = serializers.URLField()


@extend_schema_serializer(component_name="Subscription")
class CurrentSubscription(serializers.Serializer[Any]):
    plan = serializers.CharField()
    status = serializers.CharField(help_text="Stripe's status; `active` on `free`.")
    current_period_end = serializers.DateTimeField(allow_null=True)
    cancel_at_period_end = serializers.BooleanField()
    credits_per_period = serializers.IntegerField()


SUBSCRIBED = OpenApiExample(
    "On a plan",
    value={
        "plan": "pro",
        "status": "active",
        "current_period_end": "2026-03-01T12:00:00Z",
        "cancel_at_period_end": False,
        "credits_per_period": 10,
    },
    response_only=True,
    status_codes=["200"],
)
NOT_SUBSCRIBED = OpenApiResponse(description="There is no paid plan.")
STRIPE_DOWN = OpenApiResponse(description="Stripe does not respond right now.")


class PlanViewSet(Cosmiv, ViewSet):
    authentication_classes: Sequence[Any] = ()
    accepts = {"read": PUBLIC}

    @extend_schema(
        summary="List the plans",
        responses={200: OpenApiResponse(Plans, "By price, cheapest first.")},
        examples=[
            OpenApiExample(
                "Two of them",
                value={
                    "plans": [
                        {
                            "id": "free",
                            "name": "Cosmic Cadet",
                            "price": 0,
                            "features": ["60s limit", "Watermark"],
                            "credits": 0,
                            "stripe_price_id": None,
                        },
                        {
                            "id": "pro",
                            "name": "Nebula Knight",
                            "price": 9,
                            "features": ["120s limit", "No watermark"],
                            "credits": 10,
                            "stripe_price_id": "price_1",
                        },
                    ]
                },
                response_only=True,
            )
        ],
    )
    def read(self, request: Request) -> Response:
        """The plans that an account can choose, and the free plan."""
        return Response({"plans": [_plan(each) for each in plan_catalog.offered()]})


class BillingViewSet(Cosmiv, ViewSet):
    accepts = {
        "checkout": PERSON,
        "subscription": PERSON,
        "portal": PERSON,
        "cancel": PERSON,
        "resume": PERSON,
    }
    statuses = {
        **Cosmiv.statuses,
        "unknown_plan": 404,
        "not_subscribed": 404,
        "already_subscribed": 409,
        "payment_under_way": 409,
    }

    @extend_schema(
        summary="Choose a plan",
        request=Choice,
        responses={
            200: OpenApiResponse(
                PlanCheckoutPage, "Where to pay, or to confirm the change."
            ),
            400: OpenApiResponse(description="`FREE_PLAN`: it needs no checkout."),
            404: OpenApiResponse(description="`UNKNOWN_PLAN`."),
            409: OpenApiResponse(
                description="`ALREADY_SUBSCRIBED` to this plan, or `PAYMENT_UNDER_WAY`"
                " for a plan: a bank debit takes days."
            ),
            503: STRIPE_DOWN,
        },
        examples=[
            OpenApiExample("A plan", value={"plan": "pro"}, request_only=True),
            OpenApiExample(
                "Where to pay",
                value={
                    "checkout_url": "https://checkout.stripe.com/c/pay/cs_test_1",
                    "session_id": "cs_test_1",
                },
                response_only=True,
                status_codes=["200"],
            ),
        ],
    )
    @resumable
    def checkout(self, request: Request, *, once: bytes | None) -> Response:
        """Returns a page of Stripe's: a checkout, or, for an account with a plan, the
        confirmation of the change. For a plan that is past due, unpaid or paused it is
        the customer portal. A repetition before anything is paid returns the same page.
        """
        serializer = Choice(data=request.data)
        serializer.is_valid(raise_exception=True)
        slug = serializer.validated_data["plan"]
        page = choosing.choose(account=user_of(request), slug=slug)
        return Response({"checkout_url": page.url, "session_id": page.session_id})

    @extend_schema(
        summary="The subscription",
        responses={
            200: OpenApiResponse(CurrentSubscription, "As last read from Stripe.")
        },
        examples=[SUBSCRIBED],
    )
    def subscription(self, request: Request) -> Response:
        """The plan the account is on: `free`, unless a subscription is live."""
        return Response(_read_subscription(request))

    @extend_schema(
        summary="Open the customer portal",
        request=None,
        responses={
            200: OpenApiResponse(Portal, "Stripe's page, good for a few minutes."),
            404: NOT_SUBSCRIBED,
            503: STRIPE_DOWN,
        },
        examples=[
            OpenApiExample(
                "The portal",
                value={"portal_url": "https://billing.stripe.com/p/session/test_1"},
                response_only=True,
                status_codes=["200"],
            )
        ],
    )
    def portal(self, request: Request) -> Response:
        """Opens the page where the user manages payment method, invoices and plan."""
        portal = choosing.manage(account=user_of(request))
        return Response({"portal_url": portal.url})

    @extend_schema(
        summary="Cancel at the end of the month",
        request=None,
        responses={
            200: OpenApiResponse(
                CurrentSubscription, "The plan ends with the paid month."
            ),
            404: NOT_SUBSCRIBED,
            503: STRIPE_DOWN,
        },
        examples=[SUBSCRIBED],
    )
    @resumable
    def cancel(self, request: Request, *, once: bytes | None) -> Response:
        """The plan and its credits stay until then. A repetition changes nothing."""
        subscriptions.set_ending(account=user_of(request), ends=True)
        return Response(_read_subscription(request))

    @extend_schema(
        summary="Undo a cancellation",
        request=None,
        responses={
            200: OpenApiResponse(CurrentSubscription, "The plan renews again."),
            404: NOT_SUBSCRIBED,
            503: STRIPE_DOWN,
        },
        examples=[SUBSCRIBED],
    )
    @resumable
    def resume(self, request: Request, *, once: bytes | None) -> Response:
        """Keeps a plan that was to end with the month."""
        subscriptions.set_ending(account=user_of(request), ends=False)
        return Response(_read_subscription(request))


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
        """Only Stripe calls it. It stores events as reviv's `/api/credits/webhook/`."""
        return self._receive(request)


def _plan(plan: Plan) -> dict[str, Any]:
    whole, cents = divmod(plan.price_cents, 100)
    return {
        "id": plan.slug,
        "name": plan.name,
        "price": Decimal(plan.price_cents) / 100 if cents else whole,
        "features": plan.features,
        "credits": plan.credits,
        "stripe_price_id": plan_catalog.price_of(plan=plan) or None,
    }


def _read_subscription(request: Request) -> dict[str, Any]:
    row = plan_catalog.subscription_of(account_id=user_of(request).pk)
    if row is None:
        free = Plan.objects.filter(slug=plan_catalog.FREE).first()
        return _subscription_body(
            plan_catalog.FREE, "active", free.credits if free else 0, None
        )
    return _subscription_body(row.plan.slug, row.status, row.plan.credits, row)


def _subscription_body(
    plan: str, status: str, credits_: int, row: Subscription | None
) -> dict[str, Any]:
    return {
        "plan": plan,
        "status": status,
        "current_period_end": row.current_period_end if row else None,
        "cancel_at_period_end": row.cancel_at_period_end if row else False,
        "credits_per_period": credits_,
    }


def _route(name: str, method: str, action: str) -> list[Any]:
    view = BillingViewSet.as_view({method: action})
    return either_slash(f"v2/billing/{name}", view)


urlpatterns = [
    *either_slash("v2/billing/plans", PlanViewSet.as_view({"get": "read"})),
    *_route("checkout", "post", "checkout"),
    *_route("subscription", "get", "subscription"),
    *_route("subscription/cancel", "post", "cancel"),
    *_route("subscription/resume", "post", "resume"),
    *_route("portal", "post", "portal"),
    *either_slash("v2/billing/webhook", WebhookViewSet.as_view({"post": "receive"})),
]
