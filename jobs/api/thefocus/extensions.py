"""Beside the Focus guide's jobs: keep a reservation while the work runs."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.authentication import principal_of
from accounts.models.apps import LONGEST_TTL_SECONDS, SHORTEST_TTL_SECONDS
from focus.contracts.replay import replayable, unchanged
from focus.contracts.thefocus import TheFocus
from focus.web.routing import either_slash
from jobs import extensions, permissions
from jobs.api.thefocus.examples import JOB
from jobs.api.thefocus.jobs import WRITE, JobCreated, job_id_of, started_body


class Extension(serializers.Serializer[Any]):
    ttl_seconds = serializers.IntegerField(
        min_value=SHORTEST_TTL_SECONDS,
        max_value=LONGEST_TTL_SECONDS,
        help_text="How long the credits stay reserved from now on. An app may have a"
        " lower maximum.",
    )


class ExtensionViewSet(TheFocus, viewsets.ViewSet):
    accepts = {"extend": WRITE}

    @extend_schema(
        summary="Keep a job's credits reserved while its work runs",
        description="The reservation ends `ttl_seconds` from now, and never sooner than"
        " before. Repeat the call while the work runs, up to 7 days after the job's"
        " start in all. Each call takes an `Idempotency-Key` of its own, or none. An"
        " expired job is 409, also before its expiry is booked. The person must still"
        " let the app.",
        parameters=[OpenApiParameter("job_id", UUID, OpenApiParameter.PATH)],
        request=Extension,
        responses=JobCreated,
        examples=[
            OpenApiExample(
                "Another half hour", {"ttl_seconds": 1800}, request_only=True
            ),
            OpenApiExample(
                "Extended",
                {
                    "job_id": JOB["job_id"],
                    "status": "started",
                    "reserved": 5,
                    "credits_remaining": 15,
                    "expires_at": "2026-10-28T11:15:00Z",
                },
                response_only=True,
            ),
        ],
    )
    @replayable
    def extend(self, request: Request, job_id: str) -> Response:
        asked = Extension(data=request.data)
        asked.is_valid(raise_exception=True)
        outcome = extensions.extend(
            job_id=job_id_of(job_id),
            caller=permissions.caller_of(principal_of(request)),
            ttl_seconds=asked.validated_data["ttl_seconds"],
        )
        response = Response(started_body(outcome))
        return response if outcome.changed else unchanged(response)


urlpatterns = either_slash(
    "jobs/<str:job_id>/extend", ExtensionViewSet.as_view({"post": "extend"})
)
