"""U+0000 in any part of a request to any route is 400 in the guide's format."""

import re
from typing import Any

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.test import APIClient

from accounts.models import User
from focus.web.fallback import contract_of

ID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


def _routes(patterns: Any = None, before: str = "") -> list[str]:
    """Return every route, the admin's too, with sample values for its parameters."""
    found = []
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        here = before + str(entry.pattern).removeprefix("^").removesuffix("$")
        if isinstance(entry, URLResolver):
            found += _routes(entry.url_patterns, here)
        elif isinstance(entry, URLPattern):
            found.append("/" + re.sub(r"<[^>]*>|\(\?P.*?\)", ID, here))
    return found


# Paths for the routes that Django defines by regular expressions.
ROUTES = sorted({path for path in _routes() if "\\" not in path and "(" not in path})
every_route = pytest.mark.parametrize("path", ROUTES)
SHAPES = {
    "focus": {"error", "message"},
    "onesub": {"error", "message"},
    "reviv": {"error"},
    "cosmiv": {"success", "error"},
    "clipforge": {"statusCode", "message", "error"},
}


def test_there_are_routes() -> None:
    assert len(ROUTES) > 150


@pytest.fixture
def anyone() -> Client:
    return Client(raise_request_exception=False)


@pytest.fixture
def signed_in(staff: User) -> Client:
    browser = Client(raise_request_exception=False)
    browser.force_login(staff)
    return browser


def refused(answer: Any, path: str) -> None:
    assert answer.status_code == 400, (path, answer.status_code)
    contract = contract_of(path)
    if contract is None:
        assert answer["Content-Type"].startswith("text/html")
        return
    body = answer.json()
    assert SHAPES[contract.slug] <= set(body)
    assert "X-RateLimit-Limit" in answer.headers


@every_route
@pytest.mark.django_db
def test_in_the_query_path_headers_and_cookies(anyone: Client, path: str) -> None:
    cookie = settings.SESSION_COOKIE_NAME
    quoted = f'{cookie}="abcdefghijklmnopqrst\\000uvwxyz012345"'
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        refused(anyone.generic(method, f"{path}?a=%00"), path)
        refused(anyone.generic(method, f"{path}?%00=a"), path)
        refused(anyone.generic(method, path + "\x00"), path + "\x00")
        refused(anyone.generic(method, path, headers={"Cookie": quoted}), path)
        bearer = {"Authorization": "Bearer focus_pat_\x00"}
        refused(anyone.generic(method, path, headers=bearer), path)
        key = {"Idempotency-Key": "a\x00b"}
        refused(anyone.generic(method, path, headers=key), path)


@every_route
@pytest.mark.django_db
def test_in_the_form_of_a_page(signed_in: Client, path: str) -> None:
    if contract_of(path) is not None:
        return
    file = SimpleUploadedFile("a\x00.png", b"x")
    for sent in ({"email": "a\x00b"}, {"a\x00b": "x"}, {"nested": ["x", "\x00"]}):
        refused(signed_in.post(path, sent), path)
        plain = "application/x-www-form-urlencoded"
        refused(signed_in.post(path, "email=a%00b", content_type=plain), path)
    assert signed_in.post(path, {"file": file}).status_code < 500


@every_route
@pytest.mark.django_db
def test_in_a_body_of_a_contract(as_alice: APIClient, path: str) -> None:
    if contract_of(path) is None:
        return
    as_alice.raise_request_exception = False
    for method in ("post", "put", "patch", "delete"):
        for body, kind in (
            ('{"a": "\\u0000"}', "application/json"),
            ('{"\\u0000": 1}', "application/json"),
            ('{"metadata": {"a": ["\\u0000"]}}', "application/json"),
            ("a=%00", "application/x-www-form-urlencoded"),
        ):
            call = getattr(as_alice, method)
            answer = call(path, data=body, content_type=kind)
            # 503: a Stripe webhook receiver without configuration.
            assert answer.status_code != 500, (method, path, body)


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/api/auth/login", "/api/auth/register"])
def test_in_each_kind_of_body_that_cosmiv_takes(anyone: Client, path: str) -> None:
    sent = {"email": "a\x00@example.com", "password": "a long password"}
    json_body = {**sent, "email": "a\u0000@example.com"}
    for answer in (
        anyone.post(path, json_body, content_type="application/json"),
        anyone.post(path, sent),
        anyone.post(
            path,
            "email=a%00%40example.com&password=a+long+password",
            content_type="application/x-www-form-urlencoded",
        ),
    ):
        assert answer.status_code == 400
        assert "U+0000" in answer.json()["error"]["message"]
