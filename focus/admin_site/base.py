"""The base class of every staff page, which limits what a query string may name.

Django's admin filters a list by any local column that the query string names. A reader
could find out a hidden value character by character (`?password__regex=^a`). Here a
list filters and sorts only by the columns that its class declares; other names are a
400.
"""

from collections.abc import Iterator
from typing import Any

from django.contrib.admin import EmptyFieldListFilter, ShowFacets, SimpleListFilter
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import get_fields_from_path
from django.contrib.admin.views.main import ORDER_VAR
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import ValidationError
from django.db.models import ForeignKey, QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.utils.text import capfirst
from unfold.admin import ModelAdmin
from unfold.views import ChangeList


class StaffChangeList(ChangeList):
    """A change list that filters and sorts by declared columns only."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = capfirst(self.opts.verbose_name_plural)

    def get_filters(self, request: HttpRequest) -> Any:
        try:
            return super().get_filters(request)
        except OverflowError as wrong:  # a year that no calendar has
            raise IncorrectLookupParameters(wrong) from wrong

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        # Django accepts the number of any column, sortable or not, and ignores other
        # text. Both would give an order that the list does not offer.
        for part in self.params.get(ORDER_VAR, "").split("."):
            if part and not self._is_sortable(part.removeprefix("-")):
                raise DisallowedModelAdminLookup(f"Sorting by {part!r} is not allowed")
        return super().get_ordering(request, queryset)

    def _is_sortable(self, number: str) -> bool:
        if not (number.isascii() and number.isdigit() and len(number) < 4):
            return False
        column = int(number)
        return (
            column < len(self.list_display)
            and self.list_display[column] in self.sortable_by
        )


class ChosenRow(AutocompleteSelect):
    """Django's widget, without keys in a refused form that are not valid keys."""

    def optgroups(self, name: str, value: Any, attrs: Any = None) -> Any:
        key = self.field.remote_field.model._meta.pk
        return super().optgroups(name, [v for v in value if _fits(key, v)], attrs)


def _fits(key: Any, value: Any) -> bool:
    try:
        key.run_validators(key.to_python(value))
    except ValidationError:
        return False
    return True


class StaffAdmin(ModelAdmin):
    """The base class of every page that the staff site registers.

    `lookups` names the query parameters that our own links add to a list, beside those
    of `list_filter` and `date_hierarchy`.
    """

    lookups: tuple[str, ...] = ()
    # Counts by filter run a query for each choice.
    show_facets = ShowFacets.NEVER

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return StaffChangeList

    def lookup_allowed(
        self, lookup: str, value: str, request: HttpRequest | None = None
    ) -> bool:
        filters = self.list_filter if request is None else self.get_list_filter(request)
        return lookup in {*self.lookups, *self._listed(filters)}

    def may_change(self, request: HttpRequest) -> bool:
        """Return whether staff may use the actions of this model.

        Pages that refuse every edit have actions too, so this reads the permission.
        """
        name = f"{self.opts.app_label}.change_{self.opts.model_name}"
        return request.user.has_perm(name)

    # Actions name their permission "act".
    has_act_permission = may_change

    def to_field_allowed(self, request: HttpRequest, to_field: str) -> bool:
        """Allow a page or a pop-up to name a row by its primary key only."""
        return to_field in (self.opts.pk.name, self.opts.pk.attname)

    def _listed(self, filters: Any) -> Iterator[str]:
        """Yield the query parameters of Django's filters and of the date hierarchy."""
        if self.date_hierarchy:
            for part in ("year", "month", "day"):
                yield f"{self.date_hierarchy}__{part}"
        for item in filters:
            if isinstance(item, type) and issubclass(item, SimpleListFilter):
                yield str(item.parameter_name)
                continue
            path, kind = item if isinstance(item, tuple) else (item, None)
            if kind is EmptyFieldListFilter:
                yield f"{path}__isempty"
                continue
            yield from (path, f"{path}__exact", f"{path}__isnull")
            field = get_fields_from_path(self.model, path)[-1]
            if isinstance(field, ForeignKey):
                yield f"{path}__{field.target_field.name}__exact"

    def formfield_for_foreignkey(
        self, db_field: ForeignKey[Any, Any], request: HttpRequest, **options: Any
    ) -> Any:
        if db_field.name in self.get_autocomplete_fields(request):
            options.setdefault("widget", ChosenRow(db_field, self.admin_site))
        return super().formfield_for_foreignkey(db_field, request, **options)

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any]
    ) -> HttpResponseBase | None:
        """Refuse ids that are not valid keys of this model, before any query."""
        chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
        if not all(_fits(self.opts.pk, value) for value in chosen):
            self.message_user(request, "Choose rows of this list.", "error")
            return None
        answer: HttpResponseBase | None = super().response_action(request, queryset)
        return answer
