"""Focus guide, sections 1 and 6: session tokens and device login."""

import uuid
from typing import Any, cast
from urllib.parse import quote

from django.conf import settings
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
)
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied, Throttled
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.authentication import (
    principal_of,
    principal_or_none,
    require_second_proof,
    user_of,
    visitor,
)
from accounts.credentials import scopes
from accounts.credentials.access import (
    PRESENT,
    PUBLIC,
    Access,
    Bound,
    CredentialNotAccepted,
)
from accounts.credentials.principals import Kind
from accounts.partners import origins, redirects
from accounts.signin import bound_tokens, devices, sessions
from focus.contracts.fields import TrimmedText
from focus.contracts.thefocus import TheFocus
from focus.limiting import limits
from focus.limiting.limits import DEVICE_POLL, DEVICE_START, GENERAL
from focus.web.routing import either_slash

SESSION_TOKEN_SECONDS = 15 * 60
NO_STORE = {"Cache-Control": "no-store"}


class SessionToken(serializers.Serializer):
    token = serializers.CharField()
    expires_at = serializers.DateTimeField()


VERIFIER = OpenApiParameter("X-Code-Verifier", str, OpenApiParameter.HEADER)


class NewDevice(serializers.Serializer):
    client_name = TrimmedText(
        max_length=120, required=False, default="", allow_blank=True
    )
    scope = TrimmedText(
        max_length=400,
        required=False,
        default="",
        allow_blank=True,
        help_text=f"Space-separated, of: {', '.join(scopes.SCOPES)}. All by default.",
    )
    code_challenge = TrimmedText(
        max_length=128,
        required=False,
        default="",
        allow_blank=True,
        help_text="PKCE, S256. The poll then needs the header X-Code-Verifier.",
    )


class StartedDevice(serializers.Serializer):
    device_code = serializers.CharField()
    user_code = serializers.CharField()
    verification_uri = serializers.URLField()
    verification_uri_complete = serializers.URLField()
    expires_in = serializers.IntegerField()
    interval = serializers.IntegerField()


class StoppedDevice(serializers.Serializer):
    device_code = TrimmedText(max_length=64, help_text="From start's answer.")


class Decision(serializers.Serializer):
    user_code = TrimmedText(max_length=32)
    approve = serializers.BooleanField(required=False, default=True)


class Decided(serializers.Serializer):
    ok = serializers.BooleanField()


class Waiting(serializers.Serializer):
    status = serializers.ChoiceField(["pending", "slow_down"])
    interval = serializers.IntegerField()


class SessionTokenViewSet(TheFocus, ViewSet):
    accepts = {
        "session_token": Access(frozenset({Kind.SESSION, Kind.CLERK}), bound=Bound.APP)
    }

    def check_permissions(self, request: Request) -> None:
        principal = principal_or_none(request)
        if principal is not None and principal.kind is Kind.PAT:
            raise CredentialNotAccepted(
                "This kind of credential is not accepted here. A personal access token "
                "needs no session token: send it as Authorization: Bearer wherever an "
                "access token is taken."
            )
        super().check_permissions(request)

    @extend_schema(
        summary="Get a session token",
        responses={
            200: OpenApiResponse(
                SessionToken,
                "A JWT for 15 minutes; after a sign-in with Clerk, Clerk's.",
            ),
            401: OpenApiResponse(description="No user is signed in; see `signin_url`."),
        },
        examples=[
            OpenApiExample(
                "Signed in",
                value={
                    "token": "eyJ0eXAiOiJhdCtqd3QifQ.eyJzdWIiOiI4ZDMifQ.MEU",
                    "expires_at": "2026-01-31T12:15:00Z",
                },
                response_only=True,
            )
        ],
    )
    def session_token(self, request: Request) -> Response:
        """Exchange the browser session for a bearer token.

        On an app's page the token is bound to that app: it serves that app's wallet
        view, jobs and hosted work.
        """
        principal = principal_of(request)
        app = principal.bound_to
        if principal.token:
            body = {"token": principal.token, "expires_at": principal.expires_at}
            return Response(body, headers=NO_STORE)
        if principal.kind is Kind.CLERK and app is not None:
            if principal.read_only:
                raise PermissionDenied("Support gets no token here.", code="read_only")
            token = bound_tokens.issue_clerk_token(
                user=user_of(request),
                app=app,
                seconds=SESSION_TOKEN_SECONDS,
                visitor=visitor(request._request),
            )
        else:
            session_id = cast(uuid.UUID, principal.session_id)
            session = sessions.find(session_id=session_id)
            token = sessions.access_token(
                session=session,
                seconds=SESSION_TOKEN_SECONDS,
                azp=app.slug if app else "",
            )
        body = {"token": token.text, "expires_at": token.expires_at}
        return Response(body, headers=NO_STORE)

    def answer(self, exc: Exception, context: Any) -> Response | None:
        # Guide 1A: "If unauthenticated this returns 401 with a signin_url".
        response = super().answer(exc, context)
        if response is not None and response.status_code == 401:
            response.data["signin_url"] = _signin_url(context["request"])
        return response


class DeviceViewSet(TheFocus, ViewSet):
    """The device's side of a device login. The device code is its credential."""

    authentication_classes: list[Any] = []
    accepts = {"start": PUBLIC, "poll": PUBLIC, "cancel": PUBLIC}
    # An attacker can invent new codes, so polling also counts against the address.
    limits = {"start": (DEVICE_START,), "poll": (DEVICE_POLL, GENERAL)}

    @extend_schema(
        summary="Start a device login",
        request=NewDevice,
        responses={200: OpenApiResponse(StartedDevice, "Show the user code.")},
        examples=[
            OpenApiExample(
                "Started",
                value={
                    "device_code": "k3v0m9nU4y2b7Qw1sXcZ5aRtLpFhGjKd8eTiYoNqVuM",
                    "user_code": "BCDF-GHJK",
                    "verification_uri": "https://account.thefocus.ai/device",
                    "verification_uri_complete": "https://account.thefocus.ai/device"
                    "?user_code=BCDF-GHJK",
                    "expires_in": 900,
                    "interval": 5,
                },
                response_only=True,
            )
        ],
    )
    def start(self, request: Request) -> Response:
        """Get a code for the device to poll with, and one for the user to type."""
        serializer = NewDevice(data=request.data)
        serializer.is_valid(raise_exception=True)
        try:
            started = devices.start(
                **serializer.validated_data, visitor=visitor(request._request)
            )
        except devices.TooManyCodes as many:
            wait = devices.STILL_POLLING.total_seconds()
            raise Throttled(wait, many.message) from many
        user_code = devices.format_user_code(started.grant.user_code)
        page = f"{settings.PUBLIC_BASE_URL}/device"
        body = {
            "device_code": started.device_code,
            "user_code": user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={user_code}",
            "expires_in": devices.EXPIRES_IN_SECONDS,
            "interval": started.grant.interval_seconds,
        }
        return Response(body, headers=NO_STORE)

    @extend_schema(
        summary="Poll for the token",
        parameters=[
            OpenApiParameter("device_code", str, required=True),
            VERIFIER,
        ],
        responses={
            200: OpenApiResponse(
                SessionToken, "Approved: a personal access token, shown only once."
            ),
            202: OpenApiResponse(Waiting, "Not decided yet. Wait `interval` seconds."),
            400: OpenApiResponse(
                description="`access_denied`, `expired_token` or "
                "`invalid_device_code`: stop polling."
            ),
        },
        examples=[
            OpenApiExample(
                "Pending",
                value={"status": "pending", "interval": 5},
                response_only=True,
                status_codes=["202"],
            ),
            OpenApiExample(
                "Approved",
                value={
                    "token": "focus_pat_3nK8sVbQ1xYw7TzRfJ0dGmHcLpUaEiO2wB4kQd",
                    "expires_at": "2026-05-01T12:00:00Z",
                },
                response_only=True,
                status_codes=["200"],
            ),
        ],
    )
    def poll(self, request: Request) -> Response:
        """Ask whether the user has approved. Polling too fast increases `interval`."""
        answer = devices.poll(
            device_code=request.query_params.get("device_code", ""),
            code_verifier=request.headers.get("X-Code-Verifier", ""),
        )
        if answer.issued is not None:
            issued = answer.issued
            limits.tally_of(request._request).remember_valid(issued.secret)
            done = {"token": issued.secret, "expires_at": issued.token.expires_at}
            return Response(done, headers=NO_STORE)
        waiting = {
            "status": "slow_down" if answer.slow_down else "pending",
            "interval": answer.interval_seconds,
        }
        headers = {**NO_STORE, "Retry-After": str(answer.interval_seconds)}
        return Response(waiting, status=202, headers=headers)

    @extend_schema(
        summary="Cancel a device login",
        request=StoppedDevice,
        parameters=[VERIFIER],
        responses={
            200: OpenApiResponse(Decided, "The code no longer works."),
            400: OpenApiResponse(description="`invalid_device_code`."),
        },
    )
    def cancel(self, request: Request) -> Response:
        """Cancel a device login. Repeating it is harmless."""
        serializer = StoppedDevice(data=request.data)
        serializer.is_valid(raise_exception=True)
        devices.cancel(
            device_code=serializer.validated_data["device_code"],
            code_verifier=request.headers.get("X-Code-Verifier", ""),
        )
        return Response({"ok": True}, headers=NO_STORE)


class DecisionViewSet(TheFocus, ViewSet):
    accepts = {"complete": Access(PRESENT)}
    statuses = {**TheFocus.statuses, "second_proof_required": 403}

    @extend_schema(
        summary="Approve or deny a device",
        request=Decision,
        responses={
            200: OpenApiResponse(Decided, "Decided."),
            400: OpenApiResponse(description="`invalid_user_code`: no device waits."),
            403: OpenApiResponse(
                description="`second_proof_required`: sign in with a password, or a "
                "passkey that asks for a PIN, fingerprint or face, to approve one."
            ),
            429: OpenApiResponse(description="Too many wrong codes."),
        },
        examples=[
            OpenApiExample(
                "Approve",
                value={"user_code": "BCDF-GHJK", "approve": True},
                request_only=True,
            ),
            OpenApiExample("Decided", value={"ok": True}, response_only=True),
        ],
    )
    def complete(self, request: Request) -> Response:
        """Approve or deny the device with this code, with all requested scopes."""
        serializer = Decision(data=request.data)
        serializer.is_valid(raise_exception=True)
        if serializer.validated_data["approve"]:
            require_second_proof(request)
        try:
            devices.decide(
                user=user_of(request),
                **serializer.validated_data,
                visitor=visitor(request._request),
            )
        except devices.TooManyWrongCodes as guessing:
            raise Throttled(guessing.wait_seconds, guessing.message) from guessing
        return Response({"ok": True})


def _signin_url(request: Request) -> str:
    """Return the sign-in page's URL, with a redirect back to an app's calling page."""
    page = f"{settings.PUBLIC_BASE_URL}/signin"
    for header in ("Referer", "Origin"):
        back = redirects.allowed_url(request.headers.get(header, ""))
        if back is not None and origins.origin_of(back) != origins.origin_of(page):
            return f"{page}?redirect_to={quote(back, safe='')}"
    return page


urlpatterns = [
    *either_slash(
        "sessionToken", SessionTokenViewSet.as_view({"get": "session_token"})
    ),
    *either_slash("device/start", DeviceViewSet.as_view({"post": "start"})),
    *either_slash("device/poll", DeviceViewSet.as_view({"get": "poll"})),
    *either_slash("device/cancel", DeviceViewSet.as_view({"post": "cancel"})),
    *either_slash("device/complete", DecisionViewSet.as_view({"post": "complete"})),
]
