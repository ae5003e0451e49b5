"""Cosmiv guide, "Accounts API": providers, linking an account, links, sync."""

from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from django.http import HttpResponseRedirect
from django.http.response import HttpResponseBase
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
)
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.authentication import (
    Credentials,
    ReturningCredentials,
    principal_or_none,
    require_second_proof,
    user_of,
    visitor,
)
from accounts.credentials.access import PUBLIC, SIGNED_IN_HERE, Access, Unauthenticated
from accounts.credentials.principals import Kind
from accounts.links import cookie as link_cookie
from accounts.links import linking, syncs
from accounts.links import registry as link_registry
from accounts.models import Link, Sync
from accounts.partners import redirects
from focus.contracts.cosmiv import Cosmiv
from focus.contracts.replay import replayable
from focus.errors import DomainError
from focus.limiting.limits import AUTH
from focus.web.routing import either_slash

# The target of the redirect without a `return_to`.
HOME = "/security#links"


class ProviderSerializer(serializers.Serializer):
    id = serializers.CharField()
    name = serializers.CharField()
    icon = serializers.CharField()
    description = serializers.CharField()
    available = serializers.BooleanField(
        help_text="Whether its accounts can be linked."
    )


class Providers(serializers.Serializer):
    providers = ProviderSerializer(many=True)


class Address(serializers.Serializer):
    url = serializers.URLField()


class LastSync(serializers.ModelSerializer[Sync]):
    class Meta:
        model = Sync
        fields = ["requested_at", "started_at", "finished_at", "error"]


class LinkedAccount(serializers.ModelSerializer[Link]):
    platform_username = serializers.SerializerMethodField()
    platform_user_id = serializers.CharField(source="subject")
    sync = serializers.SerializerMethodField(help_text="The newest sync.")
    profile = serializers.DictField(help_text="What the last sync found.")

    class Meta:
        model = Link
        fields = [
            "provider",
            "platform_username",
            "platform_user_id",
            "created_at",
            "expires_at",
            "is_active",
            "last_synced_at",
            "profile",
            "sync",
        ]

    def get_platform_username(self, link: Link) -> str:
        return link.username or link.subject

    def get_sync(self, link: Link) -> LastSync(allow_null=True):  # type: ignore[valid-type]
        newest = link.syncs.order_by("-requested_at", "-pk").first()
        return LastSync(newest).data if newest else None


class Links(serializers.Serializer):
    links = LinkedAccount(many=True)


class Unlinked(serializers.Serializer):
    success = serializers.BooleanField()
    provider = serializers.CharField()


class Scheduled(serializers.Serializer):
    scheduled = serializers.BooleanField()
    message = serializers.CharField()


LINK = {
    "provider": "steam",
    "platform_username": "gaben",
    "platform_user_id": "76561197960287930",
    "created_at": "2026-01-31T12:00:00Z",
    "expires_at": None,
    "is_active": True,
    "last_synced_at": "2026-01-31T12:00:05Z",
    "profile": {"username": "gaben", "visibility": "public"},
    "sync": {
        "requested_at": "2026-01-31T12:00:00Z",
        "started_at": "2026-01-31T12:00:04Z",
        "finished_at": "2026-01-31T12:00:05Z",
        "error": "",
    },
}


class AccountsViewSet(Cosmiv, ViewSet):
    accepts = {
        "providers": PUBLIC,
        "links": Access(SIGNED_IN_HERE | {Kind.PAT}, "account:read"),
        "unlink": Access(SIGNED_IN_HERE),
        "sync": Access(SIGNED_IN_HERE),
    }
    statuses = {**Cosmiv.statuses, "not_linked": 404}
    codes = {**Cosmiv.codes, "not_linked": "RESOURCE_NOT_FOUND"}

    @extend_schema(
        summary="List providers",
        responses={200: OpenApiResponse(Providers, "Available and planned providers.")},
    )
    def providers(self, request: Request) -> Response:
        """List the platforms; `available: false` if it cannot be linked yet."""
        listed = ProviderSerializer(link_registry.listed(), many=True)
        return Response({"providers": listed.data})

    @extend_schema(
        summary="List linked accounts",
        responses={200: OpenApiResponse(Links, "Newest first.")},
        examples=[
            OpenApiExample("Linked", value={"links": [LINK]}, response_only=True)
        ],
    )
    def links(self, request: Request) -> Response:
        """List your linked accounts.

        If `is_active` is false, link the account again.
        """
        rows = linking.linked_accounts(user=user_of(request))
        return Response({"links": LinkedAccount(rows, many=True).data})

    @extend_schema(
        summary="Unlink an account",
        responses={200: OpenApiResponse(Unlinked, "Unlinked; its tokens are deleted.")},
    )
    def unlink(self, request: Request, provider: str) -> Response:
        """Unlink your account of this provider."""
        link = linking.unlink(
            user=user_of(request), provider=provider, visitor=visitor(request._request)
        )
        return Response({"success": True, "provider": link.provider})

    @extend_schema(
        summary="Sync linked accounts",
        request=None,
        responses={
            200: OpenApiResponse(Scheduled, "The sync is scheduled."),
            404: OpenApiResponse(description="Nothing is linked."),
        },
        examples=[
            OpenApiExample(
                "Scheduled",
                value={
                    "scheduled": True,
                    "message": "Sync scheduled for 1 linked account.",
                },
                response_only=True,
            )
        ],
    )
    @replayable
    def sync(self, request: Request) -> Response:
        """Sync the profiles of your linked accounts. `links` shows when it is done."""
        count = len(syncs.request(user=user_of(request)))
        accounts = "1 linked account" if count == 1 else f"{count} linked accounts"
        return Response(
            {"scheduled": True, "message": f"Sync scheduled for {accounts}."}
        )


class LinkingViewSet(Cosmiv, ViewSet):
    accepts = {"start": Access(SIGNED_IN_HERE), "finish": PUBLIC}
    limits = {"start": (AUTH,), "finish": (AUTH,)}
    statuses = {
        **Cosmiv.statuses,
        "link_taken": 409,
        "already_linked": 409,
        "second_proof_required": 403,
    }

    def get_authenticators(self) -> list[Any]:
        # `finish` is a redirect from the provider's site, a cross-site request.
        kind = ReturningCredentials if self.action_map.get("get") == "finish" else None
        return [(kind or Credentials)()]

    @extend_schema(
        summary="Start to link an account",
        parameters=[
            OpenApiParameter(
                "mode",
                str,
                enum=["redirect", "json"],
                description="`json`: the URL in the body instead of a redirect. Open "
                "it in the same browser.",
            ),
            OpenApiParameter(
                "return_to",
                str,
                description="Where to redirect the user: a page of a registered app, "
                "or our path. It gets `linked=<provider>` or `link_error=<code>`.",
            ),
        ],
        responses={
            200: OpenApiResponse(Address, "With `mode=json`: the provider's page."),
            302: OpenApiResponse(description="To the provider's page."),
            404: OpenApiResponse(description="Its accounts cannot be linked."),
        },
    )
    def start(self, request: Request, provider: str) -> HttpResponseBase:
        """Redirect the user to the provider, which redirects them back to us."""
        require_second_proof(request)
        started = linking.start(
            user=user_of(request),
            provider=provider,
            in_browser=request._request.META.get("HTTP_AUTHORIZATION") is None,
            return_to=_checked_return(request.query_params.get("return_to", "")),
        )
        if request.query_params.get("mode") == "json":
            answer: HttpResponseBase = Response({"url": started.url})
        else:
            answer = HttpResponseRedirect(started.url)
        link_cookie.put(answer, started)
        return answer

    @extend_schema(
        summary="Come back from the provider",
        parameters=[OpenApiParameter("state", str)],
        responses={
            302: OpenApiResponse(
                description="Linked: to `return_to` or the account page. A browser is "
                "redirected there with `link_error`, too; other clients get the error."
            ),
            401: OpenApiResponse(description="The bearer token is not valid."),
            409: OpenApiResponse(
                description="The account is linked to another user, or you have linked "
                "another account."
            ),
        },
    )
    def finish(self, request: Request, provider: str) -> HttpResponseBase:
        """The provider redirects users here; clients do not call it."""
        answer = dict(request._request.GET.lists())
        state = (answer.get("state") or [""])[-1]
        binder = request._request.COOKIES.get(link_cookie.name(state))
        caller = principal_or_none(request)
        user = caller.user if caller and caller.kind in SIGNED_IN_HERE else None
        back = ""
        try:
            if user is None and binder is None:
                raise Unauthenticated("Sign in to finish linking the account.")
            attempt = linking.take_state(
                provider=provider, state=state, user=user, binder=binder
            )
            back = attempt.return_to
            linking.finish(
                attempt=attempt, query=answer, visitor=visitor(request._request)
            )
        except DomainError as refusal:
            if not _is_browser(request):
                raise
            return _refused(request, refusal, back)
        reply = _redirect(back, {"linked": provider})
        link_cookie.drop(reply, state)
        return reply


def _checked_return(return_to: str) -> str:
    if not return_to:
        return ""
    target = redirects.allowed_path(return_to) or redirects.allowed_url(return_to)
    if target is None:
        raise serializers.ValidationError(
            {"return_to": ["This address is not registered."]}
        )
    return target


def _is_browser(request: Request) -> bool:
    return "text/html" in request._request.META.get("HTTP_ACCEPT", "")


def _refused(request: Request, refusal: DomainError, back: str) -> HttpResponseBase:
    if isinstance(refusal, Unauthenticated):
        # The state is not used yet, so the user can sign in and continue.
        here = urlencode({"next": request._request.get_full_path()})
        return _redirect("", {}, page=f"/signin?{here}")
    return _redirect(back, {"link_error": refusal.code})


def _redirect(
    target: str, about: dict[str, str], *, page: str = ""
) -> HttpResponseRedirect:
    if not page:
        # Check again: the app may have been switched off since the start.
        allowed = redirects.allowed_path(target) or redirects.allowed_url(target)
        parts = urlsplit(allowed or HOME)
        query = "&".join(filter(None, (parts.query, urlencode(about))))
        page = urlunsplit(parts._replace(query=query))
    answer = HttpResponseRedirect(page)
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer


_start = LinkingViewSet.as_view({"get": "start"})
_finish = LinkingViewSet.as_view({"get": "finish"})
_links = AccountsViewSet.as_view({"get": "links"})
_unlink = AccountsViewSet.as_view({"delete": "unlink"})
urlpatterns = [
    *either_slash("providers", AccountsViewSet.as_view({"get": "providers"})),
    *either_slash("oauth/<str:provider>", _start),
    *either_slash("oauth/<str:provider>/callback", _finish),
    *either_slash("links", _links),
    *either_slash("links/<str:provider>", _unlink),
    *either_slash("sync", AccountsViewSet.as_view({"post": "sync"})),
]
