"""The URL map: one view per path, one contract per view."""

import re
from typing import Any

import pytest
from django.test import Client

from accounts.credentials.access import Access
from focus.contracts import Contract
from focus.contracts.reviv import Reviv
from focus.openapi import schema
from focus.web.fallback import contract_of
from focus.web.routing import ALIAS

# The only pair that differs by its trailing slash: Focus's page and reviv's.
TWO_PAGES = {"api/docs", "api/docs/"}

ROUTES = list(schema.every_route())
OURS = [
    (route, pattern)
    for route, pattern in ROUTES
    if issubclass(getattr(pattern.callback, "cls", object), Contract)
]
every_route = pytest.mark.parametrize(
    ("route", "pattern"), OURS, ids=[route for route, _ in OURS]
)


def _shape(route: str) -> str:
    return re.sub(r"<[^>]*>", "<>", route)


def _sample(route: str) -> str:
    return "/" + re.sub(r"<[^>]*>", "7c9e6679-7425-40de-944b-e07fc1f90ae7", route)


def test_there_are_views_of_contracts() -> None:
    assert len(OURS) > 20


def test_no_path_has_two_views() -> None:
    shapes = [_shape(route) for route, _ in ROUTES]
    assert sorted(shapes) == sorted(set(shapes))


@every_route
def test_a_view_has_exactly_one_contract(route: str, pattern: Any) -> None:
    signed = [kind for kind in pattern.callback.cls.__mro__ if kind in _contracts()]
    assert len(signed) == 1


def _contracts() -> set[type[Contract]]:
    return {contract for contract, _, _ in schema.DOCUMENTS.values()}


@every_route
def test_an_unknown_path_beside_a_view_has_its_error_format(
    route: str, pattern: Any
) -> None:
    contract = contract_of(_sample(route))
    assert contract is not None
    assert issubclass(pattern.callback.cls, contract)


@every_route
def test_a_path_is_served_with_and_without_its_slash(route: str, pattern: Any) -> None:
    if route in TWO_PAGES:
        return
    other = route.removesuffix("/") if route.endswith("/") else f"{route}/"
    same = [found for name, found in OURS if name == other]
    assert [found.callback for found in same] == [pattern.callback]


@every_route
def test_only_reviv_spells_its_paths_with_a_slash(route: str, pattern: Any) -> None:
    if pattern.name != ALIAS:
        theirs = issubclass(pattern.callback.cls, Reviv)
        assert route.endswith("/") == theirs


@every_route
def test_a_view_declares_who_may_call_each_of_its_actions(
    route: str, pattern: Any
) -> None:
    view = pattern.callback
    declared = view.cls.accepts
    for action in view.actions.values():
        assert isinstance(declared[action], Access), f"{view.cls.__name__}.{action}"


def test_every_api_route_belongs_to_a_contract() -> None:
    plain = [
        route
        for route, pattern in ROUTES
        if re.match(r"(api|v1)(/|$)|health", route) and (route, pattern) not in OURS
    ]
    assert plain == []


@pytest.mark.parametrize(
    ("short", "page"), [("/admin", "/admin/"), ("/docs", "/api/docs")]
)
def test_short_urls_redirect_to_the_page(client: Client, short: str, page: str) -> None:
    answer = client.get(short)
    assert (answer.status_code, answer["Location"]) == (302, page)
