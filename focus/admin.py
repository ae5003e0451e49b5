"""The staff page of failed background tasks."""

from django.contrib import admin
from django.db.models import QuerySet

from focus.admin_site.lists import ReadOnly
from focus.models import Failure


@admin.register(Failure)
class FailureAdmin(ReadOnly):
    """Failed background tasks, with a filter for those that later succeeded."""

    list_display = ["task", "subject", "error", "times", "last_at", "healed_at"]
    list_filter = [("healed_at", admin.EmptyFieldListFilter)]
    ordering = ["-id"]
    search_fields = ["task"]
    search_help_text = "Task name or subject"
    fields = [*list_display, "first_at"]

    def found(self, rows: QuerySet[Failure], term: str) -> QuerySet[Failure]:
        return rows.filter(task=term) | rows.filter(subject=term)
