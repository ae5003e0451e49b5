"""Readers of the admin cannot find out columns that its pages do not show.

The tests try every column of every model, alone and across one and two relations, as a
filter and as an order, with every role.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.exceptions import (
    DisallowedModelAdminLookup,
    DisallowedModelAdminToField,
)
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.messages.storage.fallback import FallbackStorage
from django.core.exceptions import PermissionDenied
from django.db import models
from django.test import Client

from accounts import roles
from accounts.models import Session, User
from focus.admin_site.base import StaffAdmin
from tests.doors.browsing import Browser
from tests.doors.staffroom import browser, in_role

LOOKUPS = ("", "__exact", "__regex", "__startswith", "__icontains", "__in", "__gt")
ROLES = [*roles.ROLES, "superuser", ""]
# Requests through the whole stack take long, so middle roles run as slow tests.
BY_HTTP = [
    pytest.param(
        role, marks=[] if role in ("viewer", "superuser") else pytest.mark.slow
    )
    for role in ROLES
]
REGISTERED = sorted(admin.site._registry, key=lambda model: model._meta.label)
OTHERS = [m for m in apps.get_models(include_auto_created=True) if m not in REGISTERED]
# Credentials and bank data, which no page and no search may contain.
SECRET = {
    "browser_key",
    "card",
    "code_challenge",
    "device_digest",
    "digest",
    "next_secret",
    "password",
    "prev",
    "prev2",
    "sealed",
    "sealed_tokens",
    "secret",
    "session_data",
    "session_key",
    "stripe_payment_method_id",
    "tip",
    "user_code",
}


def pages() -> Iterator[tuple[type[models.Model], StaffAdmin]]:
    for model in REGISTERED:
        page = admin.site._registry[model]
        assert isinstance(page, StaffAdmin)
        yield model, page


def listing(model: type[models.Model]) -> str:
    return f"/admin/{model._meta.app_label}/{model._meta.model_name}/"


@cache
def columns(model: type[models.Model], hops: int = 0) -> frozenset[str]:
    """Return the paths to every column within `hops` relations, in both directions."""
    return frozenset(_paths(model, hops))


def _paths(model: type[models.Model], hops: int) -> Iterator[str]:
    for field in model._meta.get_fields(include_hidden=True):
        if field.concrete and not field.many_to_many:
            yield field.name
            if field.attname != field.name:
                yield field.attname
        if hops and field.is_relation and isinstance(field.related_model, type):
            # A hidden relation has no query name.
            query = getattr(field, "related_query_name", None)
            name = query() if field.auto_created and callable(query) else field.name
            if not name.endswith("+"):
                for path in _paths(field.related_model, hops - 1):
                    yield f"{name}__{path}"


def declared(page: StaffAdmin) -> set[str]:
    """Return the query parameters of a list's filters and links."""
    named = {*page.lookups}
    if page.date_hierarchy:
        named |= {f"{page.date_hierarchy}__{part}" for part in ("year", "month", "day")}
    for item in page.list_filter:
        if isinstance(item, type):
            named.add(str(item.parameter_name))  # type: ignore[attr-defined]
        elif isinstance(item, tuple):
            named.add(f"{item[0]}__isempty")
        else:
            field = page.model._meta.get_field(item.partition("__")[0])
            tail = f"__{field.target_field.name}__exact" if field.is_relation else ""
            named |= {item, f"{item}__exact", f"{item}__isnull", f"{item}{tail}"}
    return named


def ask(page: StaffAdmin, person: User, rf: Any, **query: str) -> str:
    """Return the list's result for this person: `listed`, `refused` or `forbidden`."""
    request = rf.get("/", query)
    request.user, request.session = person, {}
    request._messages = FallbackStorage(request)
    try:
        page.changelist_view(request)
    except PermissionDenied:
        return "forbidden"
    except (DisallowedModelAdminLookup, DisallowedModelAdminToField):
        return "refused"
    except IncorrectLookupParameters:
        pytest.fail("Django answers these by itself")
    return "listed"


def test_every_registered_class_is_of_the_one_base() -> None:
    assert REGISTERED
    for model, page in admin.site._registry.items():
        assert isinstance(page, StaffAdmin), model
        assert type(page).lookup_allowed is StaffAdmin.lookup_allowed, model
        assert type(page).to_field_allowed is StaffAdmin.to_field_allowed, model


def test_a_page_of_another_base_class_fails_the_system_check() -> None:
    class Loose(admin.ModelAdmin):
        pass

    site = type(admin.site._wrapped)("elsewhere")  # type: ignore[attr-defined]
    site.register(Session, Loose)
    assert [error.id for error in site.check(None)] == ["focus.E001"]


@pytest.mark.django_db
@pytest.mark.parametrize("role", ROLES)
def test_only_declared_columns_filter_a_list(role: str, rf: Any) -> None:
    """Try each column and each column one relation away in the list's own view."""
    person = User.objects.get(pk=in_role(role).pk)
    for model, page in pages():
        wanted = "refused" if page.has_view_permission(_by(rf, person)) else "forbidden"
        for column in columns(model, 1):
            for lookup in ("__exact", "__regex", "__startswith"):
                asked = f"{column}{lookup}"
                if asked not in declared(page):
                    said = ask(page, person, rf, **{asked: "a"})
                    assert said == wanted, f"{model._meta.label}?{asked}"


@pytest.mark.django_db
@pytest.mark.parametrize("role", ROLES)
def test_no_column_across_two_relations_is_a_filter(role: str, rf: Any) -> None:
    """Call the check that every list's view calls first, for 15,000 paths a role."""
    request = _by(rf, in_role(role))
    for model, page in pages():
        listed = declared(page)
        asked = {f"{path}{end}" for path in columns(model, 2) for end in LOOKUPS}
        allowed = {one for one in asked if page.lookup_allowed(one, "a", request)}
        assert allowed <= listed, (model, allowed - listed)


@pytest.mark.django_db
@pytest.mark.parametrize("role", BY_HTTP)
def test_no_column_filters_over_http_either(role: str) -> None:
    """Try the columns of each model through the whole stack."""
    client = browser(in_role(role))
    for model, page in pages():
        allowed = client.get(listing(model)).status_code
        assert allowed in (200, 403)
        for column in columns(model) - declared(page):
            # With `e`, Django shows an error page instead of its redirect.
            asked = {f"{column}__regex": "^a", "e": "1"}
            status = client.get(listing(model), asked).status_code
            assert status == (400 if allowed == 200 else 403), (model, asked)


@pytest.mark.django_db
@pytest.mark.parametrize("role", BY_HTTP)
def test_models_without_a_page_are_not_found(role: str) -> None:
    client = browser(in_role(role))
    assert {m._meta.label for m in OTHERS} >= {"sessions.Session", "auth.Permission"}
    for model in OTHERS:
        for column in columns(model):
            asked = {f"{column}__startswith": "a"}
            assert client.get(listing(model), asked).status_code == 404


@pytest.mark.django_db
@pytest.mark.parametrize("role", ROLES)
def test_a_list_sorts_only_by_its_sortable_columns(role: str, rf: Any) -> None:
    person = User.objects.get(pk=in_role(role).pk)
    for model, page in pages():
        request = _by(rf, person)
        if not page.has_view_permission(request):
            assert ask(page, person, rf, o="1") == "forbidden"
            continue
        for name in columns(model):
            assert ask(page, person, rf, o=name) == "refused", (model, name)
            assert ask(page, person, rf, o=f"-{name}") == "refused", (model, name)
        assert ask(page, person, rf, o="1.password") == "refused"
        shown = page.get_changelist_instance(request).list_display
        sortable = page.get_sortable_by(request)
        for number in range(-40, 40):
            offered = abs(number) < len(shown) and shown[abs(number)] in sortable
            wanted = "listed" if offered else "refused"
            assert ask(page, person, rf, o=str(number)) == wanted, (model, number)
        assert not {last(name) for name in sortable} & SECRET


@pytest.mark.django_db
@pytest.mark.parametrize("role", ROLES)
def test_only_the_primary_key_names_a_row(role: str, rf: Any) -> None:
    """Django's `_to_field` would choose a row by any column."""
    person = in_role(role)
    client = browser(person)
    for model, page in pages():
        request = _by(rf, person)
        key = {model._meta.pk.name, model._meta.pk.attname}
        named = {c for c in columns(model, 1) if page.to_field_allowed(request, c)}
        assert named == key, model
        may = page.has_view_permission(request)
        for column in {*columns(model), "nothing"} - key:
            asked = {"_to_field": column, "_popup": "1"}
            assert ask(page, person, rf, **asked) == ("refused" if may else "forbidden")
        # The pages of wallets and adjustments ignore this parameter.
        answer = client.get(f"{listing(model)}a/change/", asked)
        assert answer.status_code in (302, 400, 403, 404), (model, column)
        assert "a/change" not in answer.get("Location", "")


@pytest.mark.django_db
@pytest.mark.parametrize("role", BY_HTTP)
def test_autocomplete_serves_declared_fields_only(role: str) -> None:
    client = browser(in_role(role))
    offered = set()
    for model in [*REGISTERED, *OTHERS]:
        for field in model._meta.get_fields(include_hidden=True):
            asked = {
                "app_label": model._meta.app_label,
                "model_name": str(model._meta.model_name),
                "field_name": field.name,
                "term": "a",
            }
            status = client.get("/admin/autocomplete/", asked).status_code
            assert status in (200, 302, 403, 404), (model, field)
            if status == 200:
                offered.add((model._meta.label, field.name))
    declared = {("accounts.App", "owner"), ("accounts.AppKey", "app")}
    assert offered == (declared if role else set())


@pytest.mark.django_db
def test_facets_are_never_counted(rf: Any) -> None:
    person = in_role("superuser")
    for model, page in pages():
        request = rf.get("/", {"_facets": "True"})
        request.user = person
        assert not page.get_changelist_instance(request).add_facets, model


@pytest.mark.django_db
def test_no_secret_is_on_a_page_or_in_a_search(rf: Any) -> None:
    person = in_role("superuser")
    every = {name for model in apps.get_models() for name in columns(model)}
    assert every >= SECRET - {"card"}, "a column went: look what it is called now"
    for model, page in pages():
        request = _by(rf, person)
        row = model()
        shown = {*page.get_fields(request, row), *page.get_list_display(request)}
        for inline in page.get_inline_instances(request, row):
            shown |= {*inline.get_fields(request, row)}
        found = {last(str(path)) for path in page.get_search_fields(request)}
        assert not (shown | found) & SECRET, model


class TestTheWayIn:
    """The attack by which a reader became a superuser, step by step."""

    @pytest.fixture
    def viewer(self, alice: User) -> Client:
        assert Browser().sign_in().status_code == 302
        return browser(in_role("viewer"))

    def test_a_session_key_cannot_be_read_character_by_character(
        self, viewer: Client
    ) -> None:
        for first in "0123456789abcdef":
            asked = {"browser_key__regex": f"^{first}"}
            answer = viewer.get("/admin/accounts/session/", asked)
            assert answer.status_code == 400
            assert "alice@example.com" not in answer.content.decode()

    def test_declared_filters_and_links_work(self, viewer: Client) -> None:
        listed = viewer.get("/admin/accounts/session/", {"kind__exact": "browser"})
        assert "alice@example.com" in listed.content.decode()
        none = viewer.get("/admin/accounts/session/", {"kind__exact": "tokens"})
        assert "alice@example.com" not in none.content.decode()


def last(path: str) -> str:
    return path.rpartition("__")[2].lstrip("=^@")


def _by(rf: Any, person: User) -> Any:
    request = rf.get("/")
    request.user = person
    return request
