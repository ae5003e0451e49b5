"""Staff pages of jobs, with links to their ledger entries and webhook deliveries."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from focus.admin_site import columns, search
from focus.admin_site.lists import ReadOnly
from jobs import lifecycle
from jobs.models import Job
from wallet.ledger import NOW


class ByTime(admin.SimpleListFilter):
    """Filter by the API's status: a started job past its time is expired."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(Job.Status.choices)

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        status = self.value()
        if status not in Job.Status.values:
            return queryset
        overdue = Q(status=Job.Status.STARTED, expires_at__lte=NOW)
        if status == Job.Status.STARTED:
            return queryset.filter(status=status).exclude(overdue)
        if status == Job.Status.EXPIRED:
            return queryset.filter(overdue | Q(status=status))
        return queryset.filter(status=status)


@admin.register(Job)
class JobAdmin(ReadOnly):
    """Jobs with their amounts, ledger entries and webhook deliveries."""

    list_display = [
        "started",
        "owner",
        "app",
        "action",
        "state",
        "reserved",
        "charged",
        "refunded",
        "settled",
    ]
    list_select_related = ["account", "app"]
    list_filter = [ByTime, "app"]
    date_hierarchy = "created_at"
    ordering = ["-created_at"]
    search_fields = ["account__email"]
    search_help_text = "Email, account or job id"
    fields = [
        "id",
        "owner",
        "app",
        "action",
        "state",
        "entries",
        "deliveries",
        "reserved",
        "cost",
        "charged",
        "refunded",
        "uncovered",
        "late",
        "fail_reason",
        "started",
        "until",
        "settled",
        "metadata",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        jobs: QuerySet[Job] = super().get_queryset(request)
        return jobs.annotate(now=NOW)

    def found(self, rows: QuerySet[Job], term: str) -> QuerySet[Job]:
        any_id = search.as_uuid(term)
        if any_id is None:
            return rows.filter(account__in=search.accounts_by_email(term))
        if Job.objects.filter(pk=any_id).exists():
            return rows.filter(pk=any_id)
        return rows.filter(account=any_id)

    started = columns.time("created_at", "started", sort_by="created_at")

    owner = columns.account()

    @display(
        description="status",
        label={
            "started": "warning",
            "completed": "success",
            "failed": "danger",
            "expired": "info",
        },
    )
    def state(self, job: Job) -> str:
        now = job.now  # type: ignore[attr-defined]  # An annotation of the queryset.
        return lifecycle.JobAsOf(job, now).status

    @admin.display(description="ledger")
    def entries(self, job: Job) -> Any:
        route = "wallet_entry_changelist"
        return columns.search_link(route, "Ledger entries", job_id=job.pk)

    @admin.display(description="webhooks")
    def deliveries(self, job: Job) -> Any:
        route = "jobs_delivery_changelist"
        return columns.search_link(route, "Webhook deliveries", q=job.pk)

    reserved = columns.amount("reserved_micro", "reserved")
    cost = columns.amount("actual_cost_micro", "actual cost")
    charged = columns.amount("charged_micro", "charged")
    refunded = columns.amount("refunded_micro", "returned")
    uncovered = columns.amount("uncovered_micro", "uncovered cost")
    until = columns.time("expires_at", "expires")
    settled = columns.time("settled_at", "ended")
