"""The staff site: unfold's admin site without the views that Focus does not use."""

import re
from functools import wraps
from typing import Any

from django.apps import AppConfig
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.core import checks
from django.core.exceptions import BadRequest, PermissionDenied
from django.core.paginator import InvalidPage
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from unfold.sites import UnfoldAdminSite

from focus.admin_site.base import StaffAdmin

# PostgreSQL stores neither U+0000 nor lone surrogates in a text.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class DeclaredAutocomplete(AutocompleteJsonView):
    """Autocomplete for the fields that a staff page declares, and no other column."""

    def process_request(self, request: HttpRequest) -> Any:
        term, page, field, to_field = super().process_request(request)
        asking = page.admin_site._registry.get(field.model)
        if asking is None or field.name not in asking.get_autocomplete_fields(request):
            raise PermissionDenied
        return term, page, field, to_field


class StaffSite(UnfoldAdminSite):
    """The admin site. A system check refuses pages that are not `StaffAdmin`s."""

    def check(self, app_configs: list[AppConfig] | None) -> list[checks.CheckMessage]:
        """Return an error for each registered page that is not a `StaffAdmin`."""
        wrong = [
            checks.Error(
                f"{type(page).__qualname__} is not a StaffAdmin: its list would filter"
                " by any column that a request names.",
                obj=model,
                id="focus.E001",
            )
            for model, page in self._registry.items()
            if not isinstance(page, StaffAdmin)
        ]
        return [*wrong, *super().check(app_configs)]

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Answer 400 to query strings with characters that PostgreSQL cannot store."""

        @wraps(view)
        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            for name, values in request.GET.lists():
                if any(_UNSTORABLE.search(text) for text in (name, *values)):
                    raise BadRequest("The query contains invalid characters.")
            return view(request, *args, **kwargs)

        return super().admin_view(checked, cacheable)

    def autocomplete_view(self, request: HttpRequest) -> HttpResponseBase:
        """Serve choices for declared autocomplete fields only."""
        return DeclaredAutocomplete.as_view(admin_site=self)(request)

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to /security: passwords change there, by its rules."""
        return redirect("/security")

    def password_change_done(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return redirect("/security")

    def search(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Search all lists; an invalid page number is a 400."""
        try:
            found: HttpResponse = super().search(request, extra_context)
        except (InvalidPage, ValueError) as wrong:
            raise BadRequest("There is no such page of results.") from wrong
        return found

    def get_urls(self) -> list[Any]:
        # `r/…` redirects any row to its public page, which no model of ours has.
        routes = super().get_urls()
        return [url for url in routes if getattr(url, "name", "") != "view_on_site"]
