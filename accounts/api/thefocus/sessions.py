"""A user's sessions: list them and end one. Not in the guides."""

import uuid

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.authentication import principal_of, user_of, visitor
from accounts.credentials.access import PRESENT, Access
from accounts.models import Session
from accounts.signin import sessions
from focus.contracts.thefocus import TheFocus
from focus.web.routing import either_slash


class SignIn(serializers.ModelSerializer[Session]):
    expires_at = serializers.DateTimeField(source="idle_expires_at")
    current = serializers.SerializerMethodField()

    class Meta:
        model = Session
        fields = [
            "id",
            "kind",
            "client",
            "ip",
            "user_agent",
            "created_at",
            "last_used_at",
            "expires_at",
            "current",
        ]

    def get_current(self, session: Session) -> bool:
        return bool(session.pk == self.context["current"])


class SignIns(serializers.Serializer):
    sessions = SignIn(many=True)


class SessionViewSet(TheFocus, ViewSet):
    accepts = {"list": Access(PRESENT), "end": Access(PRESENT)}

    @extend_schema(
        summary="List sessions",
        responses={200: OpenApiResponse(SignIns, "Most recently used first.")},
    )
    def list(self, request: Request) -> Response:
        """List your 200 most recently used sessions. `current` marks this request's."""
        principal = principal_of(request)
        rows = sessions.live(user=user_of(request))[:200]
        about = {"current": principal.session_id}
        return Response({"sessions": SignIn(rows, many=True, context=about).data})

    @extend_schema(
        summary="End a session",
        responses={200: OpenApiResponse(SignIn, "Ended.")},
    )
    def end(self, request: Request, session_id: uuid.UUID) -> Response:
        """End a session. Its tokens and its cookie stop working."""
        principal = principal_of(request)
        row = sessions.end(
            user_id=user_of(request).pk,
            session_id=session_id,
            visitor=visitor(request._request),
        )
        about = {"current": principal.session_id}
        return Response(SignIn(row, context=about).data)


urlpatterns = [
    *either_slash("sessions", SessionViewSet.as_view({"get": "list"})),
    *either_slash(
        "sessions/<uuid:session_id>", SessionViewSet.as_view({"delete": "end"})
    ),
]
