"""reviv guide, "Auth (OAuth + JWT + Cookies)": initiate, callback, exchange."""

from typing import Any, cast

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
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

from accounts.api.reviv import refresh_cookie
from accounts.audit import Visitor
from accounts.authentication import visitor
from accounts.credentials.access import PUBLIC
from accounts.models import User
from accounts.partners import origins, redirects
from accounts.providers import arrivals, google, oauth_cookie
from accounts.providers.google import Claims, Flow
from accounts.signin import email_ownership, sessions, tickets
from focus.contracts.reviv import Person, Reviv
from focus.contracts.wire import StrictFormParser, StrictJSONParser
from focus.errors import DomainError
from focus.limiting.limits import AUTH
from focus.web.middleware import page_policy
from focus.web.routing import either_slash
from wallet import ledger

# The guide: "Access token lifetime is 15 minutes".
ACCESS_SECONDS = 15 * 60
NO_STORE = {"Cache-Control": "no-store"}
DOOR = "reviv"
CALLBACK = "/api/auth/oauth/callback/google/"
# The only values of `?error=` besides the codes of `OAuthError.reason`.
ACCESS_DENIED, FAILED = "access_denied", "oauth_error"


class MissingProvider(DomainError):
    code = "missing_provider"


class InvalidProvider(DomainError):
    code = "invalid_provider"


class OAuthError(DomainError):
    """The provider or this server refused the sign-in. `reason` is a code of ours."""

    code = "oauth_error"


class MissingState(DomainError):
    code = "missing_state"


class MissingAuthorizationCode(DomainError):
    code = "missing_authorization_code"


class MissingTicket(DomainError):
    code = "missing_ticket"


class Wish(serializers.Serializer):
    provider = serializers.ChoiceField(["google"])
    return_to = serializers.CharField(
        required=False,
        help_text="A path on the front end, or a URL of its origin. Anything else "
        "means its `/auth/callback`. Without it, the callback answers in JSON.",
    )


class Place(serializers.Serializer):
    auth_url = serializers.CharField()


class Ticket(serializers.Serializer):
    ticket = serializers.CharField(min_length=43, max_length=43)


class Entered(serializers.Serializer):
    access = serializers.CharField()
    user = Person()


class EnteredByBody(Entered):
    refresh = serializers.CharField()


class InitiateViewSet(Reviv, ViewSet):
    authentication_classes: list[Any] = []
    accepts = {"initiate": PUBLIC}
    limits = {"initiate": (AUTH,)}

    @extend_schema(
        summary="Start a sign-in with Google",
        request=Wish,
        responses={
            200: OpenApiResponse(Place, "Redirect the browser there."),
            400: OpenApiResponse(
                description="`MISSING_PROVIDER`, `INVALID_PROVIDER`, "
                "`PROVIDER_NOT_CONFIGURED`."
            ),
        },
        examples=[
            OpenApiExample(
                "With a page to return to",
                value={"provider": "google", "return_to": "/auth/callback"},
                request_only=True,
            )
        ],
    )
    def initiate(self, request: Request) -> Response:
        """Get a URL at Google.

        Call it with credentials, so that the callback recognises the browser and does
        not need to ask the user to confirm.
        """
        parameters = _body(request)
        _check_provider(parameters.get("provider"))
        wanted = parameters.get("return_to", "")
        if not isinstance(wanted, str):
            raise serializers.ValidationError({"return_to": ["Not a valid string."]})
        context = {"return_to": redirects.frontend_url(wanted) if wanted else None}
        begun = google.begin(
            door=DOOR,
            redirect_uri=f"{settings.PUBLIC_BASE_URL}{CALLBACK}",
            context=context,
        )
        response = Response({"auth_url": begun.url}, headers=NO_STORE)
        if context["return_to"]:
            oauth_cookie.put(response, begun)
        return response


class CallbackViewSet(Reviv, ViewSet):
    authentication_classes: list[Any] = []
    parser_classes = (StrictJSONParser, StrictFormParser)
    # No HEAD: a link preview must not use up the state.
    http_method_names = ["get", "post", "options"]
    accepts = {"callback": PUBLIC}

    @extend_schema(operation_id="reviv_auth_oauth_callback_form", methods=["POST"])
    @extend_schema(
        summary="Return from Google",
        description="With a `return_to` at initiate: 302 to it, with `?ticket=` (60 s, "
        "one use). A browser that is refused gets `?error=`, which is one of "
        "`access_denied`, `account_closed`, `email_in_use`, `oauth_error`. If another "
        "browser started the sign-in, a page asks the user to confirm. Without a "
        "`return_to`: tokens.",
        parameters=[
            OpenApiParameter("code", str),
            OpenApiParameter("state", str),
            OpenApiParameter("error", str),
        ],
        request=None,
        responses={
            200: OpenApiResponse(EnteredByBody, "Without a `return_to`."),
            302: OpenApiResponse(description="To `return_to?ticket=`."),
            400: OpenApiResponse(
                description="`INVALID_PROVIDER`, `PROVIDER_NOT_CONFIGURED`, "
                "`OAUTH_ERROR`, `MISSING_STATE`, `INVALID_STATE`, "
                "`MISSING_AUTHORIZATION_CODE`, `OAUTH_EXCHANGE_FAILED`."
            ),
        },
    )
    def callback(self, request: Request, provider: str) -> HttpResponseBase:
        _check_provider(provider)
        parameters = request.query_params.dict()
        if request.method == "POST":
            # The form's values win: a provider with form_post sends its answer there.
            parameters |= {
                name: value for name, value in _body(request).items() if value
            }
        state, error = parameters.get("state"), parameters.get("error")
        if not state:
            raise _denied(error) if error else MissingState("The state is missing.")
        try:
            flow = google.resume(door=DOOR, state=state)
        except google.InvalidGoogleState as invalid:
            raise (_denied(error) if error else invalid) from invalid
        try:
            if error:
                raise _denied(error)
            response = self._finish(request, flow, state, parameters.get("code"))
        except DomainError as refusal:
            if not (flow.context["return_to"] and _is_a_person(request)):
                raise
            reason = str(refusal.facts.get("reason", FAILED))
            response = _redirect_to_frontend(flow.context["return_to"], "error", reason)
        oauth_cookie.drop(cast(HttpResponse, response), state)
        return response

    def _finish(
        self, request: Request, flow: Flow, state: str, code: object
    ) -> HttpResponseBase:
        if not isinstance(code, str) or not code:
            raise MissingAuthorizationCode("The authorization code is missing.")
        claims = google.finish(flow=flow, code=code)
        return_to = flow.context["return_to"]
        where = visitor(request._request)
        if return_to is None:
            tokens = _sign_in(claims, where)
            body = {"access": tokens.access_token, "refresh": tokens.refresh_token}
            user = tokens.session.user
            return Response(body | {"user": _person(user)}, headers=NO_STORE)
        if not flow.began_in(oauth_cookie.read(request._request, state)):
            return _confirmation_page(request._request, flow, claims)
        ticket = tickets.issue(
            session=_sign_in(claims, where).session,
            origin=origins.origin_of(return_to) or "",
        )
        return _redirect_to_frontend(return_to, "ticket", ticket)


class ExchangeViewSet(Reviv, ViewSet):
    authentication_classes: list[Any] = []
    accepts = {"exchange": PUBLIC}
    limits = {"exchange": (AUTH,)}

    @extend_schema(
        summary="Redeem a ticket",
        request=Ticket,
        responses={
            200: OpenApiResponse(
                Entered, "Signed in; the refresh token is in the cookie."
            ),
            400: OpenApiResponse(description="`MISSING_TICKET`, `INVALID_TICKET`."),
        },
    )
    def exchange(self, request: Request) -> Response:
        """Exchange the ticket from the callback for tokens. A ticket works once."""
        ticket = _body(request).get("ticket")
        if not ticket:
            raise MissingTicket("The ticket is missing.")
        tokens = tickets.redeem(
            ticket=ticket,
            origin=request._request.META.get("HTTP_ORIGIN"),
            access_seconds=ACCESS_SECONDS,
        )
        body = {"access": tokens.access_token, "user": _person(tokens.session.user)}
        response = Response(body, headers=NO_STORE)
        refresh_cookie.put(response, tokens)
        return response


def _check_provider(provider: object) -> None:
    if not provider:
        raise MissingProvider("Say which provider: google.")
    if provider != google.PROVIDER:
        raise InvalidProvider("The only provider is google.")
    if not google.is_configured():
        raise google.NotConfigured("Sign-in with Google is not configured here.")


def _denied(error: object) -> OAuthError:
    """Return our error for the provider's.

    Anyone can forge its text, so never show it.
    """
    if error == ACCESS_DENIED:
        return OAuthError("The sign-in was cancelled.", reason=ACCESS_DENIED)
    return OAuthError("The provider refused the sign-in.", reason=FAILED)


def _sign_in(claims: Claims, where: Visitor) -> sessions.SessionTokens:
    def begin(user: User) -> sessions.SessionTokens:
        return sessions.begin(
            user=user,
            client="reviv",
            access_seconds=ACCESS_SECONDS,
            methods=["fed"],
            visitor=where,
        )

    try:
        return arrivals.by_google(claims=claims, begin=begin, visitor=where)
    except (arrivals.AccountClosed, email_ownership.EmailInUse) as refusal:
        raise OAuthError(refusal.message, reason=refusal.code) from refusal


def _confirmation_page(
    request: HttpRequest, flow: Flow, claims: Claims
) -> HttpResponse:
    """Render a page that asks the user to confirm: another browser started this."""
    return_to = flow.context["return_to"]
    origin = origins.origin_of(return_to) or ""
    about = {
        "email": claims.email or "a Google account",
        "host": origin.partition("://")[2],
        "asked": google.keep_for_confirmation(
            door=DOOR, context=flow.context, claims=claims
        ),
    }
    response = render(request, "accounts/continue.html", about)
    response["Content-Security-Policy"] = page_policy(origin)
    return response


def _redirect_to_frontend(return_to: str, name: str, value: str) -> HttpResponse:
    target = redirects.with_parameter(redirects.frontend_url(return_to), name, value)
    headers = {**NO_STORE, "Referrer-Policy": "no-referrer"}
    return HttpResponseRedirect(target, headers=headers)


def _is_a_person(request: Request) -> bool:
    """Return whether the client is a browser, which needs a page and not JSON."""
    return "text/html" in request._request.META.get("HTTP_ACCEPT", "")


def _person(user: User) -> Any:
    credits_micro = ledger.balance_at(account_id=user.pk, slug="reviv").credits_micro
    return Person(user, context={"credits_micro": credits_micro}).data


def _body(request: Request) -> dict[str, Any]:
    # Our parsers only return objects and forms.
    return cast(dict[str, Any], request.data)


urlpatterns = [
    *either_slash(
        "auth/oauth/initiate/", InitiateViewSet.as_view({"post": "initiate"})
    ),
    *either_slash(
        "auth/oauth/callback/<str:provider>/",
        CallbackViewSet.as_view({"get": "callback", "post": "callback"}),
    ),
    *either_slash(
        "auth/oauth/exchange/", ExchangeViewSet.as_view({"post": "exchange"})
    ),
]
