"""ClipForge guide, "Create API Client": the first call that every sample makes."""

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.access import KEY_OR_JWT, Access
from focus.contracts.clipforge import ClipForge
from focus.routing import either_slash


class Project(serializers.Serializer):
    id = serializers.CharField()
    title = serializers.CharField()
    sourceUrl = serializers.CharField(allow_null=True)  # noqa: N815
    status = serializers.ChoiceField(
        ["CREATED", "INGESTING", "DETECTING", "READY", "FAILED"]
    )
    createdAt = serializers.DateTimeField()  # noqa: N815
    updatedAt = serializers.DateTimeField()  # noqa: N815


class ProjectViewSet(ClipForge, ViewSet):
    accepts = {"list": Access(KEY_OR_JWT)}

    @extend_schema(
        summary="List projects",
        responses={200: OpenApiResponse(Project(many=True), "Your projects.")},
    )
    def list(self, request: Request) -> Response:
        """Your projects. None can be made here yet, so there are none."""
        return Response([])


urlpatterns = [*either_slash("projects", ProjectViewSet.as_view({"get": "list"}))]
