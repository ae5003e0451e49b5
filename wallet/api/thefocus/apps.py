"""Beyond the Focus guide: the apps that may spend, and their monthly limits."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.authentication import require_second_proof, user_of, visitor
from accounts.credentials import access
from accounts.partners import apps as partner_apps
from focus.contracts.fields import Credits
from focus.contracts.thefocus import TheFocus
from focus.money import from_micro
from focus.web.routing import either_slash
from wallet import budgets

# Neither a script's token nor an app may raise a limit that a person set.
WRITE = access.Access(access.PRESENT)


class NewLimit(serializers.Serializer[Any]):
    limit = Credits(
        allow_null=True, help_text="Credits a calendar month (UTC); null for no limit."
    )


class AppBody(serializers.Serializer[Any]):
    slug = serializers.SlugField()
    name = serializers.CharField()
    granted_at = serializers.DateTimeField(
        allow_null=True, help_text="null where the app may not act for you (any more)."
    )
    limit = Credits(allow_null=True, help_text="null where there is none.")
    spent = Credits(help_text="This month, with what its running jobs reserve.")
    left = Credits(allow_null=True, help_text="null where there is no limit.")


class Apps(serializers.Serializer[Any]):
    apps = AppBody(many=True)


EXAMPLE = {
    "slug": "video",
    "name": "Focus Video",
    "granted_at": "2026-10-28T10:00:00Z",
    "limit": 50,
    "spent": 12.5,
    "left": 37.5,
}


class AppViewSet(TheFocus, viewsets.ViewSet):
    statuses = {**TheFocus.statuses, "second_proof_required": 403}
    accepts = {
        "list": access.Access(access.PEOPLE, "wallet:read"),
        "limit": WRITE,
        "revoke": WRITE,
    }

    @extend_schema(
        summary="List the apps that may spend your credits",
        responses={200: OpenApiResponse(Apps, "The last granted first.")},
        examples=[
            OpenApiExample("One app", {"apps": [EXAMPLE]}, response_only=True),
        ],
    )
    def list(self, request: Request) -> Response:
        found = budgets.spenders(user=user_of(request))
        return Response({"apps": [_body(each) for each in found]})

    @extend_schema(
        summary="Limit what an app may spend in a month, or lift the limit",
        description="What it spent earlier this month counts. A charge beyond the"
        " limit is refused with 402 `spending_limit_reached`.",
        request=NewLimit,
        responses={200: AppBody, 404: None},
        examples=[
            OpenApiExample("50 a month", {"limit": 50}, request_only=True),
            OpenApiExample("Set", EXAMPLE, response_only=True),
        ],
    )
    def limit(self, request: Request, slug: str) -> Response:
        app = partner_apps.find_active(slug)
        serializer = NewLimit(data=request.data)
        serializer.is_valid(raise_exception=True)
        wanted = serializer.validated_data["limit"]
        if budgets.raises_limit(user=user_of(request), app=app, limit_micro=wanted):
            require_second_proof(request)
        limited = budgets.set_limit(
            user=user_of(request),
            app=app,
            limit_micro=wanted,
            visitor=visitor(request),
        )
        return Response(_body(limited))

    @extend_schema(
        summary="Revoke an app's permission to spend your credits",
        description="Its running jobs keep what they have reserved and are charged no"
        " more than that. A limit stays.",
        responses={200: OpenApiResponse(AppBody, "Revoked."), 404: None},
        examples=[
            OpenApiExample(
                "Revoked", EXAMPLE | {"granted_at": None}, response_only=True
            )
        ],
    )
    def revoke(self, request: Request, slug: str) -> Response:
        revoked = budgets.revoke(
            user=user_of(request), slug=slug, visitor=visitor(request)
        )
        return Response(_body(revoked) | {"granted_at": None})


def _body(spender: budgets.Spender) -> dict[str, Any]:
    month = spender.month
    return {
        "slug": spender.app.slug,
        "name": spender.app.name,
        "granted_at": spender.granted_at,
        "limit": _credits(month.limit_micro),
        "spent": from_micro(month.spent_micro),
        "left": _credits(month.left_micro),
    }


def _credits(micro: int | None) -> Any:
    return None if micro is None else from_micro(micro)


urlpatterns = [
    *either_slash("apps", AppViewSet.as_view({"get": "list"})),
    *either_slash("apps/<str:slug>", AppViewSet.as_view({"delete": "revoke"})),
    *either_slash("apps/<str:slug>/limit", AppViewSet.as_view({"put": "limit"})),
]
