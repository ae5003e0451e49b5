"""Staff pages of hosted work: its runs, and reviv's restorations."""

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.text import Truncator

from accounts import audit
from accounts.authentication import user_of, visitor
from focus.admin_site import columns, dashboard, search
from focus.admin_site.lists import Acting, ReadOnly
from jobs.hosted import runs
from jobs.models import Restoration, Run

STATES = {
    "queued": "warning",
    "running": "primary",
    "done": "success",
    "failed": "danger",
    "cancelled": "info",
}
KINDS = ("restore", "montage", "detect", "export")


class OfKind(admin.SimpleListFilter):
    """Filter runs by kind, without a query for the kinds."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind, kind) for kind in KINDS]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(kind=self.value()) if self.value() else queryset


@admin.register(Run)
class RunAdmin(Acting):
    """Runs of the media engine, with the reason why one failed."""

    list_display = [
        "made",
        "owner",
        "kind",
        "state_label",
        "progress",
        "tries",
        "problem",
        "job_short",
        "started",
        "finished",
    ]
    list_select_related = ["account"]
    list_before_template = "jobs/queue_figures.html"
    list_filter = ["state", OfKind]
    ordering = ["-created_at"]
    search_fields = ["account__email"]
    search_help_text = "Email, account, run or job id"
    actions = ["cancel", "requeue"]
    fields = [
        "id",
        "owner",
        "kind",
        "state_label",
        "stage",
        "progress",
        "message",
        "tries",
        "job_link",
        "error_code",
        "error_sentence",
        "error_change",
        "detail",
        "request",
        "report",
        "units",
        "free_units",
        "unit_price",
        "made",
        "started",
        "due",
        "finished",
    ]

    def found(self, rows: QuerySet[Run], term: str) -> QuerySet[Run]:
        known = search.as_uuid(term)
        if known is None:
            return rows.filter(account__in=search.accounts_by_email(term))
        return rows.filter(Q(pk=known) | Q(job=known) | Q(account=known))

    @property
    def queue_figures(self) -> dict[str, str] | None:
        """The figures above the list, which its template reads."""
        return dashboard.hosted_figures()

    made = columns.time("created_at", "asked")
    owner = columns.account()
    state_label = columns.label("state", "state", STATES)

    @admin.display(description="progress")
    def progress(self, run: Run) -> str:
        if run.state == Run.State.RUNNING and run.stage:
            return f"{run.stage}, {run.percent} %"
        return f"{run.percent} %"

    @admin.display(description="last error")
    def problem(self, run: Run) -> str:
        return Truncator(run.error_sentence or run.error_code).chars(32) or "–"

    detail = columns.code("error_detail", "error detail", lambda text: text or "–")
    unit_price = columns.amount("unit_micro", "credits for each other unit")
    job_short = columns.job("job_id", "job")

    @admin.display(description="job")
    def job_link(self, run: Run) -> Any:
        return columns.link_to("jobs_job_change", run.job_id, run.job_id)

    started = columns.time("started_at", "last start")
    finished = columns.time("finished_at", "ended")
    due = columns.time("due_at", "due")

    @admin.action(description="Cancel (returns the credits)", permissions=["act"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        @transaction.atomic
        def act(row: Run) -> str:
            if not runs.cancel(run_id=row.pk):
                return f"{row} had ended before."
            self._record(request, "run_cancelled", row)
            return f"{row} is cancelled."

        self.each(request, queryset.select_related("account"), act)

    @admin.action(description="Start failed runs again", permissions=["act"])
    def requeue(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        @transaction.atomic
        def act(row: Run) -> str:
            runs.requeue(run_id=row.pk, actor=f"staff:{user_of(request).pk}")
            self._record(request, "run_requeued", row)
            return f"{row} is queued again."

        self.each(request, queryset.select_related("account"), act)

    def _record(self, request: HttpRequest, kind: str, run: Run) -> None:
        audit.record(
            kind,
            user=run.account,
            actor=str(user_of(request)),
            visitor=visitor(request),
            run_id=str(run.pk),
            job_id=str(run.job_id),
        )


@admin.register(Restoration)
class RestorationAdmin(ReadOnly):
    """Restorations. No page shows an address of a photo, locked or not."""

    list_display = [
        "number",
        "made",
        "owner",
        "state_label",
        "unlocked_by",
        "unlocked",
        "expires",
    ]
    list_select_related = ["account", "run"]
    list_filter = ["unlock_method"]
    ordering = ["-pk"]
    search_fields = ["account__email"]
    search_help_text = "Email, or the id of a restoration, run, job or account"
    fields = [
        "id",
        "owner",
        "state_label",
        "run_link",
        "unlocked_by",
        "unlocked",
        "charge",
        "share_opened",
        "files",
        "made",
        "expires",
    ]

    def found(self, rows: QuerySet[Restoration], term: str) -> QuerySet[Restoration]:
        if term.isascii() and term.isdigit() and len(term) < 19:
            return rows.filter(pk=int(term))
        known = search.as_uuid(term)
        if known is None:
            return rows.filter(account__in=search.accounts_by_email(term))
        # Ids first: a condition across two tables would read every row.
        found = Run.objects.filter(Q(pk=known) | Q(job=known))
        run_ids = list(found.values_list("pk", flat=True))
        return rows.filter(Q(run__in=run_ids) | Q(account=known))

    number = columns.text("pk", "id")
    made = columns.time("created_at", "uploaded")
    owner = columns.account()
    state_label = columns.label("run.state", "state", STATES)
    unlocked = columns.time("unlocked_at", "unlocked")
    share_opened = columns.time("share_opened_at", "share opened")
    expires = columns.time("expires_at", "expires")

    @admin.display(description="unlocked by")
    def unlocked_by(self, row: Restoration) -> str:
        return row.get_unlock_method_display() if row.unlock_method else "–"

    @admin.display(description="run")
    def run_link(self, row: Restoration) -> Any:
        return columns.link_to("jobs_run_change", row.run_id, row.run_id)

    @admin.display(description="charge")
    def charge(self, row: Restoration) -> Any:
        if row.unlock_movement_id is None:
            return "–"
        route, movement = "wallet_entry_changelist", row.unlock_movement_id
        return columns.search_link(route, "Ledger entries", q=movement)

    @admin.display(description="stored files")
    def files(self, row: Restoration) -> Any:
        route = "jobs_storedfile_changelist"
        return columns.search_link(route, "Files of this restoration", q=row.run_id)
