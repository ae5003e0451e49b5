"""Read-only lists and pages that stay fast over millions of rows.

A list counts up to a limit and sorts only by indexed columns. Its date filter offers
all dates from the first row to the last, without a search for gaps.
"""

from calendar import monthrange
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db import connection
from django.db.models import Max, Min, Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.functional import cached_property
from unfold.views import ChangeList

from focus.admin_site.base import StaffAdmin, StaffChangeList
from focus.errors import DomainError


class BoundedPaginator(Paginator):
    """Counts up to `counted` rows; a whole larger table gets the planner's estimate.

    Offers at most `deepest` pages: an OFFSET of millions reads millions of rows.
    """

    template_name = "admin_site/pagination.html"
    counted = 10_000
    deepest = 200

    @cached_property
    def count(self) -> int:
        """The number of rows up to `counted` + 1, or the planner's estimate."""
        rows: Any = self.object_list
        if not rows.query.where:
            estimate = _rows_in(rows.model)
            if estimate > self.counted:
                return estimate
        return int(rows.order_by().values("pk")[: self.counted + 1].count())

    @cached_property
    def num_pages(self) -> int:
        """The number of offered pages, at most `deepest`."""
        return min(super().num_pages, self.deepest)

    @property
    def words(self) -> str:
        """The count in words: exact, "more than" or "about"."""
        if self.count <= self.counted:
            return f"{self.count:,}"
        if self.count == self.counted + 1:
            return f"more than {self.counted:,}"
        return f"about {self.count:,}"


def _rows_in(model: type[Model]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass",
            [model._meta.db_table],
        )
        return int(cursor.fetchone()[0])


class ReadOnlyChangeList(StaffChangeList):
    """A change list with a calendar that needs one query."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        # The pagination shows the count, so the heading needs no second query.
        self.full_result_count = self.result_count

    @property
    def calendar(self) -> dict[str, Any]:
        """The context of the date hierarchy, for which Django reads every row."""
        field = self.date_hierarchy
        ends = self.model._default_manager.aggregate(first=Min(field), last=Max(field))
        if ends["first"] is None:
            return {"show": False}
        first, last = ends["first"].date(), ends["last"].date()
        year, month, day = (
            self._chosen(part, first, last) for part in ("year", "month", "day")
        )
        if not (1 <= (month or 1) <= 12 and day in (None, *_days(year, month))):
            return {"show": False}  # a date that no calendar has
        if year and month and day:
            chosen = date(year, month, day)
            choices = [{"title": f"{chosen:%-d %B}"}]
            back = {
                "link": self._link(year=year, month=month),
                "title": f"{chosen:%B %Y}",
            }
        elif year and month:
            days = monthrange(year, month)[1]
            every = (date(year, month, number) for number in range(1, days + 1))
            choices = [
                {
                    "link": self._link(year=year, month=month, day=at.day),
                    "title": f"{at:%-d %B}",
                }
                for at in every
                if first <= at <= last
            ]
            back = {"link": self._link(year=year), "title": str(year)}
        elif year:
            choices = [
                {
                    "link": self._link(year=year, month=number),
                    "title": f"{date(year, number, 1):%B %Y}",
                }
                for number in range(1, 13)
                if (first.year, first.month) <= (year, number)
                and (year, number) <= (last.year, last.month)
            ]
            back = {"link": self._link(), "title": "All dates"}
        else:
            choices = [
                {"link": self._link(year=number), "title": str(number)}
                for number in range(first.year, last.year + 1)
            ]
            back = None
        return {"show": True, "back": back, "choices": choices}

    def _chosen(self, part: str, first: date, last: date) -> int | None:
        """Return the chosen part of the date, or the part that all rows share."""
        given = self.params.get(f"{self.date_hierarchy}__{part}")
        if given:
            return int(given)
        clicked = any(key.startswith(f"{self.date_hierarchy}__") for key in self.params)
        if clicked or part == "day":
            return None
        if part == "year":
            return first.year if first.year == last.year else None
        alike = (first.year, first.month) == (last.year, last.month)
        return first.month if alike else None

    def _link(self, **parts: int) -> str:
        chosen = {f"{self.date_hierarchy}__{name}": n for name, n in parts.items()}
        return str(self.get_query_string(chosen, [f"{self.date_hierarchy}__"]))


def _days(year: int | None, month: int | None) -> range:
    last = monthrange(year, month)[1] if year and month else 31
    return range(1, last + 1)


class ReadOnly(StaffAdmin):
    """A page that no role can edit, superusers included; rules change the rows.

    The `view` permission is the only one that opens the page.
    """

    actions: Any = None
    list_fullwidth = True
    list_per_page = 50
    list_max_show_all = 0
    show_full_result_count = False
    paginator = BoundedPaginator
    change_list_template = "admin_site/change_list.html"
    sortable_by: tuple[str, ...] = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ReadOnlyChangeList

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.get_fields(request, obj) if self.fields else ()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (self.found(queryset, term) if term else queryset), False

    def found(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        """Return the rows that `term` means; each lookup must use an index."""
        raise NotImplementedError

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        extra = {"show_history": False, **(extra_context or {})}
        page: HttpResponse = super().change_view(request, object_id, form_url, extra)
        return page

    def history_view(
        self,
        request: HttpRequest,
        object_id: str,
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Redirect to the row: read-only rows have no edit history."""
        self.message_user(
            request,
            "These rows cannot be edited, so they have no edit history.",
            messages.INFO,
        )
        name = f"{self.opts.app_label}_{self.opts.model_name}_change"
        return redirect(f"{self.admin_site.name}:{name}", object_id)


class Acting(ReadOnly):
    """A read-only page with actions, each of which calls one rule."""

    def each(
        self, request: HttpRequest, rows: Iterable[Any], act: Callable[[Any], str]
    ) -> None:
        """Call `act` for each row and show the text that it returns, or its refusal."""
        for row in rows:
            try:
                self.message_user(request, act(row), messages.SUCCESS)
            except DomainError as refusal:
                self.message_user(request, f"{row}: {refusal.message}", messages.ERROR)
