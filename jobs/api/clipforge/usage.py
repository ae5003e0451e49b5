"""ClipForge guide, "Create API Client" and "Monitor Usage": projects and usage."""

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.authentication import user_of
from accounts.credentials.access import KEY_OR_JWT, Access, Bound
from focus.contracts.clipforge import ClipForge
from focus.money import from_micro
from focus.web.routing import either_slash
from jobs import usage
from jobs.hosted import prices


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
    accepts = {"list": Access(KEY_OR_JWT, bound=Bound.PRODUCT)}

    @extend_schema(
        summary="List projects",
        responses={200: OpenApiResponse(Project(many=True), "Your projects.")},
    )
    def list(self, request: Request) -> Response:
        """List your projects. This server creates none yet, so the list is empty."""
        return Response([])


class AppUsage(serializers.Serializer):
    app = serializers.CharField(help_text="The app's short name.")
    jobs = serializers.IntegerField(help_text="Number of settled jobs.")
    calls = serializers.IntegerField(help_text="Number of charges without a job.")
    sales = serializers.IntegerField(help_text="Number of tools that you bought.")
    credits = serializers.FloatField(help_text="Credits charged for all of them.")


class UsageBody(serializers.Serializer):
    period = serializers.CharField(help_text="The month, UTC.")
    minutesProcessed = serializers.FloatField()  # noqa: N815
    exportsCount = serializers.IntegerField()  # noqa: N815
    minutesLimit = serializers.IntegerField()  # noqa: N815
    exportsLimit = serializers.IntegerField()  # noqa: N815
    quotaMinutes = serializers.IntegerField()  # noqa: N815
    quotaExports = serializers.IntegerField()  # noqa: N815
    resetDate = serializers.DateTimeField()  # noqa: N815
    creditsCharged = serializers.FloatField(  # noqa: N815
        help_text="Credits that all apps charged your account."
    )
    apps = AppUsage(many=True)


class UsageViewSet(ClipForge, ViewSet):
    accepts = {"read": Access(KEY_OR_JWT, bound=Bound.PRODUCT)}

    @extend_schema(summary="This month's usage", responses=UsageBody)
    def read(self, request: Request) -> Response:
        """Read the usage of this calendar month (UTC). `minutesProcessed` and
        `exportsCount` come from your completed jobs with ClipForge; `quota…` equals the
        limit. `apps` sums each app's settled jobs, charges without a job, and sales. A
        job counts in the month in which it is settled.
        """
        user = user_of(request)
        used = usage.this_month(account_id=user.pk, hosted_by="clipforge")
        minutes, exports = (
            prices.terms(
                app_slug="clipforge", action=action, account_id=user.pk
            ).free_units_a_month
            for action in ("detect", "export")
        )
        return Response(
            {
                "period": f"{used.begins:%Y-%m}",
                "minutesProcessed": used.minutes,
                "exportsCount": used.exports,
                "minutesLimit": minutes,
                "exportsLimit": exports,
                "quotaMinutes": minutes,
                "quotaExports": exports,
                "resetDate": used.ends,
                "creditsCharged": from_micro(used.charged_micro),
                "apps": [
                    {
                        "app": it.app,
                        "jobs": it.jobs,
                        "calls": it.calls,
                        "sales": it.sales,
                        "credits": from_micro(it.charged_micro),
                    }
                    for it in used.apps
                ],
            }
        )


urlpatterns = [
    *either_slash("usage", UsageViewSet.as_view({"get": "read"})),
    *either_slash("projects", ProjectViewSet.as_view({"get": "list"})),
]
