"""Jobs: to read, with the way to their entries and to what was told of them."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from focus.admin_site import search, shown
from focus.admin_site.lists import ReadOnly
from jobs import lifecycle
from jobs.models import Job
from wallet.ledger import NOW


class ByTime(admin.SimpleListFilter):
    """The status as everybody else sees it: a started job past its time has expired."""

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
        "told",
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

    @admin.display(description="started (UTC)", ordering="created_at")
    def started(self, job: Job) -> str:
        return shown.moment(job.created_at)

    @admin.display(description="account")
    def owner(self, job: Job) -> Any:
        return format_html(
            '<a class="to" href="{}">{}</a>',
            reverse("admin:wallet_wallet_of", args=[job.account_id]),
            job.account,
        )

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

    @admin.display(description="in the ledger")
    def entries(self, job: Job) -> Any:
        here = reverse("admin:wallet_entry_changelist")
        return format_html(
            '<a class="to" href="{}?job_id={}">Its entries</a>', here, job.pk
        )

    @admin.display(description="webhooks")
    def told(self, job: Job) -> Any:
        here = reverse("admin:jobs_delivery_changelist")
        return format_html(
            '<a class="to" href="{}?q={}">Who was told of it</a>', here, job.pk
        )

    @admin.display(description="reserved")
    def reserved(self, job: Job) -> Any:
        return shown.amount(job.reserved_micro)

    @admin.display(description="real cost")
    def cost(self, job: Job) -> Any:
        return shown.amount(job.actual_cost_micro)

    @admin.display(description="charged")
    def charged(self, job: Job) -> Any:
        return shown.amount(job.charged_micro)

    @admin.display(description="given back")
    def refunded(self, job: Job) -> Any:
        return shown.amount(job.refunded_micro)

    @admin.display(description="cost that nobody paid")
    def uncovered(self, job: Job) -> Any:
        return shown.amount(job.uncovered_micro)

    @admin.display(description="expires (UTC)")
    def until(self, job: Job) -> str:
        return shown.moment(job.expires_at)

    @admin.display(description="ended (UTC)")
    def settled(self, job: Job) -> str:
        return shown.moment(job.settled_at)
