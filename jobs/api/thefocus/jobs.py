"""Focus guide, sections 3 to 5: create, complete, fail and list jobs."""

from typing import Any, cast
from uuid import UUID

from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    extend_schema,
    extend_schema_serializer,
)
from rest_framework import serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.authentication import principal_of
from accounts.credentials.access import APPS, PEOPLE, Access, Bound
from accounts.credentials.principals import Principal
from accounts.models.apps import LONGEST_TTL_SECONDS, SHORTEST_TTL_SECONDS
from accounts.partners import consents, first_party
from focus.contracts import cursors
from focus.contracts.fields import Credits, Metadata, TrimmedText, Uuid
from focus.contracts.replay import replayable, unchanged
from focus.contracts.thefocus import TheFocus
from focus.errors import DomainError
from focus.money import from_micro
from focus.web.routing import either_slash
from jobs import lifecycle, permissions
from jobs.api.thefocus.examples import HOSTED, JOB, SETTLED
from jobs.hosted import previews
from jobs.lifecycle import JobNotFound
from jobs.models import Job

READ = Access(PEOPLE | APPS, "jobs:read", Bound.APP)
WRITE = Access(PEOPLE | APPS, "jobs:write", Bound.APP)
MAX_LIMIT = 200


class KeyOfAnotherApp(DomainError):
    """The request names another app than its key's."""

    code = "forbidden"


class NewJob(serializers.Serializer[Any]):
    app = TrimmedText(
        max_length=64,
        required=False,
        help_text="The app's slug; optional with an app's key.",
    )
    action = TrimmedText(max_length=120)
    cost_estimate = Credits(help_text="Credits to reserve; 0 reserves nothing.")
    metadata = Metadata(default=dict)
    ttl_seconds = serializers.IntegerField(
        min_value=SHORTEST_TTL_SECONDS,
        max_value=LONGEST_TTL_SECONDS,
        required=False,
        help_text="How long the credits stay reserved; 3600 by default. An app may have"
        " a lower maximum. Then the maximum is the default, and more is refused.",
    )
    user_id = Uuid(
        required=False, help_text="The user; required with an app's key, else ignored."
    )


class JobCreated(serializers.Serializer[Any]):
    job_id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=["started"])
    reserved = Credits()
    credits_remaining = Credits()
    expires_at = serializers.DateTimeField()


class FinishedJob(serializers.Serializer[Any]):
    job_id = Uuid()
    actual_cost = Credits(required=False, help_text="The estimate by default.")
    metadata = Metadata(
        default=dict, help_text="Merged into the job's metadata; new keys win."
    )


class FailedJob(serializers.Serializer[Any]):
    job_id = Uuid()
    refund = serializers.BooleanField(
        default=True, help_text="false charges the reservation."
    )
    reason = TrimmedText(
        max_length=500, default="", allow_blank=True, help_text="Stored with the job."
    )


class JobBody(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    job_id = serializers.UUIDField(help_text="Equal to id.")
    app = serializers.SlugField()
    action = serializers.CharField()
    status = serializers.ChoiceField(choices=Job.Status.values)
    cost_estimate = Credits()
    reserved = Credits(help_text="Credits reserved at the start.")
    actual_cost = Credits(allow_null=True)
    charged = Credits()
    refunded = Credits()
    uncovered = Credits(help_text="The part of the cost that was not charged.")
    late = serializers.BooleanField(help_text="The job was settled after its expiry.")
    metadata = Metadata()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    settled_at = serializers.DateTimeField(allow_null=True)


@extend_schema_serializer(component_name="Settled")
class SettledBody(serializers.Serializer[Any]):
    job = JobBody()
    charged = Credits()
    refunded = Credits()
    uncovered = Credits()
    credits_remaining = Credits()


class Jobs(serializers.Serializer[Any]):
    jobs = JobBody(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class ListedJobs(serializers.Serializer[Any]):
    app = serializers.CharField(required=False)
    status = serializers.ChoiceField(choices=Job.Status.values, required=False)
    limit = serializers.IntegerField(min_value=1, default=50)
    cursor = serializers.CharField(required=False)


class JobViewSet(TheFocus, viewsets.ViewSet):
    accepts = {
        "create": WRITE,
        "complete": WRITE,
        "fail": WRITE,
        "list": READ,
        "retrieve": READ,
    }

    def permit_replay(self, request: Request) -> None:
        """Check the consent again: the person may have revoked it since the answer."""
        caller = principal_of(request)
        if caller.app is not None and self.action == "create":
            sent = cast(dict[str, Any], request.data).get("user_id")
            first_party.refuse(caller.app)
            user_id = Uuid().run_validation(sent)
            consents.require(user_id=user_id, app_id=caller.app.pk)

    @extend_schema(
        summary="Reserve credits for a job",
        request=NewJob,
        responses={201: JobCreated, 402: None},
        examples=[
            OpenApiExample(
                "Reserve 5 credits",
                {
                    "app": "video",
                    "action": "render",
                    "cost_estimate": 5,
                    "metadata": {"description": "Render preview clip"},
                },
                request_only=True,
            ),
            OpenApiExample(
                "Reserved",
                {
                    "job_id": JOB["job_id"],
                    "status": "started",
                    "reserved": 5,
                    "credits_remaining": 15,
                    "expires_at": "2026-10-28T11:00:00Z",
                },
                response_only=True,
                status_codes=["201"],
            ),
        ],
    )
    @replayable
    def create(self, request: Request) -> Response:
        """The jobs of `reviv`, `cosmiv` and `clipforge` are work that Focus does
        itself. Only that work starts, extends and settles them, so every such request
        is 403 `hosted_app`.
        """
        serializer = NewJob(data=request.data)
        serializer.is_valid(raise_exception=True)
        new = serializer.validated_data
        principal = principal_of(request)
        _check_names(principal, new)
        outcome = permissions.start(
            principal=principal,
            app=new.get("app"),
            user_id=new.get("user_id"),
            action=new["action"],
            estimate_micro=new["cost_estimate"],
            metadata=new["metadata"],
            ttl_seconds=new.get("ttl_seconds"),
        )
        return Response(started_body(outcome), status=201)

    @extend_schema(
        summary="Complete a job and settle its cost",
        description="Beyond the reservation the app's overage policy decides. Where the"
        " person no longer allows the app, or the account or the app is closed, at most"
        " what is still reserved is charged and the rest is `uncovered`. Only an app's"
        " key settles a job that such a key started.",
        request=FinishedJob,
        responses={200: SettledBody, 402: None},
        examples=[
            OpenApiExample(
                "Settle 3 of 5",
                {"job_id": JOB["job_id"], "actual_cost": 3, "metadata": {}},
                request_only=True,
            ),
            OpenApiExample("Settled", SETTLED, response_only=True),
        ],
    )
    @replayable
    def complete(self, request: Request) -> Response:
        serializer = FinishedJob(data=request.data)
        serializer.is_valid(raise_exception=True)
        done = serializer.validated_data
        outcome = lifecycle.complete(
            job_id=done["job_id"],
            caller=permissions.caller_of(principal_of(request)),
            cost_micro=done.get("actual_cost"),
            metadata=done["metadata"],
        )
        return _settled(outcome)

    @extend_schema(
        summary="Fail a job and give its credits back",
        request=FailedJob,
        responses=SettledBody,
        examples=[
            OpenApiExample(
                "Fail with a refund",
                {"job_id": JOB["job_id"], "refund": True, "reason": "out of memory"},
                request_only=True,
            ),
        ],
    )
    @replayable
    def fail(self, request: Request) -> Response:
        serializer = FailedJob(data=request.data)
        serializer.is_valid(raise_exception=True)
        failed = serializer.validated_data
        outcome = lifecycle.fail(
            job_id=failed["job_id"],
            caller=permissions.caller_of(principal_of(request)),
            refund=failed["refund"],
            fail_reason=failed["reason"],
        )
        return _settled(outcome)

    @extend_schema(
        summary="List jobs, newest first",
        parameters=[
            OpenApiParameter("app", str, description="Only jobs of this app."),
            OpenApiParameter("status", str, enum=Job.Status.values),
            OpenApiParameter(
                "limit",
                {"type": "integer", "minimum": 1, "default": 50},
                description="Jobs per page. A larger number counts as 200.",
            ),
            OpenApiParameter(
                "cursor", str, description="`next_cursor` of the previous page."
            ),
        ],
        responses=Jobs,
        examples=[
            OpenApiExample(
                "One page",
                {"jobs": [JOB, HOSTED], "next_cursor": None},
                response_only=True,
            )
        ],
    )
    def list(self, request: Request) -> Response:
        """The work that Focus does itself is listed too, as jobs of the apps `reviv`,
        `cosmiv` and `clipforge`. Their metadata has a `description`, and a `previewUrl`
        once there is a preview. The address expires after 24 hours, and each read
        renews it.
        """
        serializer = ListedJobs(data=request.query_params)
        serializer.is_valid(raise_exception=True)
        query = serializer.validated_data
        limit = min(query["limit"], MAX_LIMIT)
        cursor = query.get("cursor")
        page = permissions.listed(
            principal=principal_of(request),
            app=query.get("app"),
            status=query.get("status"),
            after=None if cursor is None else cursors.rest(cursor),
            limit=limit + 1,
        )
        last = page[limit - 1].job if len(page) > limit else None
        if principal_of(request).app is None:  # No key opens a person's photos.
            previews.renew([found.job for found in page[:limit]])
        return Response(
            {
                "jobs": [_body(found.job, found.status) for found in page[:limit]],
                "next_cursor": cursors.after(last.created_at, last.pk)
                if last
                else None,
            }
        )

    @extend_schema(
        summary="Read one job",
        parameters=[OpenApiParameter("job_id", UUID, OpenApiParameter.PATH)],
        responses=JobBody,
        examples=[OpenApiExample("A completed job", JOB, response_only=True)],
    )
    def retrieve(self, request: Request, job_id: str) -> Response:
        caller = permissions.caller_of(principal_of(request))
        found = lifecycle.find(job_id=job_id_of(job_id), caller=caller)
        if caller.account_id is not None:
            previews.renew([found.job])
        return Response(_body(found.job, found.status))


def job_id_of(text: str) -> UUID:
    """Read the job id of a path. Raises `JobNotFound`."""
    try:
        return UUID(text)
    except ValueError:
        raise JobNotFound("There is no such job.") from None


def _check_names(principal: Principal, new: dict[str, Any]) -> None:
    """Refuse a request that does not name the app or the user that it needs."""
    if principal.app is None:
        if "app" not in new:
            raise serializers.ValidationError({"app": ["This field is required."]})
        return
    if new.get("app", principal.app.slug) != principal.app.slug:
        raise KeyOfAnotherApp("The key belongs to another app.")
    if "user_id" not in new:
        raise serializers.ValidationError(
            {"user_id": ["This field is required with an app's key."]}
        )


def started_body(outcome: lifecycle.Outcome) -> dict[str, Any]:
    """The answer about a job that stands: its reservation and its end."""
    job = outcome.job
    return {
        "job_id": job.pk,
        "status": job.status,
        "reserved": from_micro(job.reserved_micro),
        "credits_remaining": from_micro(outcome.balance.credits_micro),
        "expires_at": job.expires_at,
    }


def _settled(outcome: lifecycle.Outcome) -> Response:
    job = outcome.job
    response = Response(
        {
            "job": _body(job, job.status),
            "charged": from_micro(job.charged_micro),
            "refunded": from_micro(job.refunded_micro),
            "uncovered": from_micro(job.uncovered_micro),
            "credits_remaining": from_micro(outcome.balance.credits_micro),
        }
    )
    return response if outcome.changed else unchanged(response)


def _body(job: Job, status: str) -> dict[str, Any]:
    """The guide's job object. `status` is the status by time."""
    expired = status == Job.Status.EXPIRED
    cost = job.actual_cost_micro
    return {
        "id": job.pk,
        "job_id": job.pk,
        "app": job.app.slug,
        "action": job.action,
        "status": status,
        "cost_estimate": from_micro(job.reserved_micro),
        "reserved": from_micro(job.reserved_micro),
        "actual_cost": None if cost is None else from_micro(cost),
        "charged": from_micro(job.charged_micro),
        "refunded": from_micro(job.reserved_micro if expired else job.refunded_micro),
        "uncovered": from_micro(job.uncovered_micro),
        "late": job.late,
        "metadata": job.metadata,
        "created_at": job.created_at,
        "expires_at": job.expires_at,
        "settled_at": job.expires_at if expired else job.settled_at,
    }


urlpatterns = [
    *either_slash("jobs", JobViewSet.as_view({"get": "list", "post": "create"})),
    *either_slash("jobs/complete", JobViewSet.as_view({"post": "complete"})),
    *either_slash("jobs/fail", JobViewSet.as_view({"post": "fail"})),
    *either_slash("jobs/<str:job_id>", JobViewSet.as_view({"get": "retrieve"})),
]
