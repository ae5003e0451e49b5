"""Focus guide, section 2: the wallet."""

from typing import Any

from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    extend_schema,
    extend_schema_serializer,
)
from rest_framework import serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.authentication import principal_of, user_of
from accounts.credentials import access
from accounts.models import App
from focus.contracts.fields import Credits
from focus.contracts.thefocus import TheFocus
from focus.money import from_micro
from focus.web.routing import either_slash
from payments.plans import catalog as plan_catalog
from wallet import starters
from wallet.starters import Membership


class Account(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    clerk_id = serializers.CharField(help_text="Clerk's id, or ours in its place.")
    email = serializers.EmailField(allow_null=True)
    plan = serializers.CharField()
    credits = Credits(help_text="What can be spent now; below 0 while there is debt.")
    reserved = Credits(help_text="What running jobs have set aside.")


class AppGrant(serializers.Serializer[Any]):
    slug = serializers.SlugField()
    starter_credits = Credits()
    granted = serializers.BooleanField(help_text="Whether they were ever granted.")


class AppOfAccount(AppGrant):
    granted_at = serializers.DateTimeField(allow_null=True)


@extend_schema_serializer(component_name="Wallet")
class WalletBody(serializers.Serializer[Any]):
    account = Account()
    apps = AppOfAccount(many=True)
    app_grant = AppGrant(allow_null=True)


EXAMPLE = {
    "account": {
        "id": "550e8400-e29b-41d4-a716-446655440000",
        "clerk_id": "focus_550e8400e29b41d4a716446655440000",
        "email": "alice@example.com",
        "plan": "free",
        "credits": 20,
        "reserved": 0,
    },
    "apps": [
        {
            "slug": "video",
            "starter_credits": 20,
            "granted": True,
            "granted_at": "2026-10-28T10:00:00Z",
        }
    ],
    "app_grant": {"slug": "video", "starter_credits": 20, "granted": True},
}


class WalletViewSet(TheFocus, viewsets.ViewSet):
    accepts = {
        "retrieve": access.Access(access.PEOPLE, "wallet:read", access.Bound.APP)
    }

    @extend_schema(
        summary="Read the wallet; with an app, meet it and get its starter credits",
        parameters=[
            OpenApiParameter(
                "app",
                str,
                description="An app's slug. Starter credits come once per account"
                " and app; `credits` is then what this app may spend. A personal access"
                " token without the scope `jobs:write` only reads.",
            )
        ],
        responses={200: WalletBody, 404: None},
        examples=[OpenApiExample("A new account", EXAMPLE, response_only=True)],
    )
    def retrieve(self, request: Request) -> Response:
        user = user_of(request)
        visit = starters.visit(
            principal=principal_of(request),
            user=user,
            slug=request.query_params.get("app"),
        )
        app, apps = visit.app, visit.memberships
        return Response(
            {
                "account": {
                    "id": user.pk,
                    "clerk_id": user.public_clerk_id,
                    "email": user.email,
                    "plan": plan_catalog.plan_of(account_id=user.pk),
                    "credits": from_micro(visit.balance.credits_micro),
                    "reserved": from_micro(visit.balance.reserved_micro),
                },
                "apps": [_row(each) | {"granted_at": each.granted_at} for each in apps],
                "app_grant": _grant(app, apps) if app else None,
            }
        )


def _grant(app: App, apps: list[Membership]) -> dict[str, Any]:
    """Return the account's starter grant of the app, also before it joined the app."""
    newcomer = Membership(app, app.starter_credits_micro, None)
    return _row(next((each for each in apps if each.app == app), newcomer))


def _row(membership: Membership) -> dict[str, Any]:
    return {
        "slug": membership.app.slug,
        "starter_credits": from_micro(membership.starter_micro),
        "granted": membership.granted_at is not None,
    }


urlpatterns = either_slash("wallet", WalletViewSet.as_view({"get": "retrieve"}))
