"""The OpenAPI documents and their pages: complete, valid, and self-hosted."""

import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.staticfiles import finders
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import path
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.credentials.access import PUBLIC
from focus import urls
from focus.contracts.thefocus import TheFocus
from focus.openapi import schema

CONTRACTS = ["focus", "onesub", "reviv", "cosmiv", "clipforge"]
PAGES = ["/api/docs", "/api/docs/", "/api/redoc/"]
every_contract = pytest.mark.parametrize("slug", CONTRACTS)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    schema.document.cache_clear()
    yield
    schema.document.cache_clear()


def _operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (where, method, operation)
        for where, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_documents_are_valid_and_the_generator_does_not_warn() -> None:
    said = StringIO()
    call_command("check_openapi", stdout=said)
    assert [line.split(":")[0] for line in said.getvalue().splitlines()] == CONTRACTS


@every_contract
def test_a_document_has_a_title_and_a_server(
    client: Client, slug: str, settings: LazySettings
) -> None:
    answer = client.get(f"/api/openapi.json?contract={slug}")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/json"
    document = answer.json()
    assert document["info"]["title"] == f"{schema.DOCUMENTS[slug][1]} API"
    assert document["servers"] == [{"url": settings.PUBLIC_BASE_URL}]


def test_the_default_document_is_focus(client: Client) -> None:
    plain = client.get("/api/openapi.json").json()
    assert plain == client.get("/api/openapi.json?contract=focus").json()
    assert {"/api/wallet", "/api/jobs", "/api/jobs/complete"} <= set(plain["paths"])


def test_an_unknown_contract_is_refused(client: Client) -> None:
    answer = client.get("/api/openapi.json?contract=unknown")
    assert (answer.status_code, answer.json()) == (
        404,
        {
            "error": "not_found",
            "message": "There is no such contract.",
            "contracts": CONTRACTS,
        },
    )


def test_revivs_schema_is_revivs_document(client: Client) -> None:
    there = client.get("/api/openapi.json?contract=reviv").json()
    assert client.get("/api/schema/").json() == there
    assert client.get("/api/schema").json() == there
    assert "/api/health/" in there["paths"]


def test_revivs_root_maps_its_endpoints(client: Client, settings: LazySettings) -> None:
    settings.PUBLIC_BASE_URL = "https://focus.example"
    for spelling in ("/api/", "/api"):
        useful = {
            "auth_token_refresh": "https://focus.example/api/auth/token/refresh/",
            "auth_me": "https://focus.example/api/auth/me/",
            "auth_logout": "https://focus.example/api/auth/logout/",
            "health": "https://focus.example/api/health/",
            "schema": "https://focus.example/api/schema/",
            "docs": "https://focus.example/api/docs/",
            "redoc": "https://focus.example/api/redoc/",
        }
        assert useful.items() <= client.get(spelling).json().items()


@every_contract
def test_every_route_of_a_contract_is_documented_once(slug: str) -> None:
    document = schema.document(slug)
    names = [operation["operationId"] for _, _, operation in _operations(document)]
    assert len(names) == len(set(names))
    for name in names:
        assert re.fullmatch(rf"{slug}(_[a-z0-9]+)+", name), name


def test_operation_ids_are_stable_for_client_generators() -> None:
    names = {
        (method, where): operation["operationId"]
        for where, method, operation in _operations(schema.document("focus"))
    }
    assert names["post", "/api/jobs"] == "focus_jobs_create"
    assert names["get", "/api/jobs"] == "focus_jobs_list"
    assert names["get", "/api/jobs/{job_id}"] == "focus_jobs_retrieve"
    assert names["post", "/api/jobs/complete"] == "focus_jobs_complete"
    assert names["get", "/api/wallet"] == "focus_wallet_retrieve"


@every_contract
def test_every_refusal_is_documented_in_the_contracts_own_envelope(slug: str) -> None:
    document = schema.document(slug)
    for where, method, operation in _operations(document):
        answers = operation["responses"]
        refusals = {s: said for s, said in answers.items() if int(s) >= 400}
        assert {"400", "429", "500"} <= set(refusals), (method, where)
        for status, said in refusals.items():
            assert said["description"], (method, where, status)
            content = said["content"]["application/json"]["schema"]
            if "health" not in where:
                assert content["$ref"].endswith("Refusal"), (method, where, status)


def test_each_operation_names_the_credentials_it_takes(settings: LazySettings) -> None:
    document = schema.document("focus")
    jobs = document["paths"]["/api/jobs"]["post"]
    assert jobs["security"] == [{"bearer": []}, {"app_key": []}, {"session": []}]
    assert "jobs:write" in jobs["description"]
    assert {"401", "403"} <= set(jobs["responses"])
    schemes = document["components"]["securitySchemes"]
    assert schemes["session"]["name"] == settings.SESSION_COOKIE_NAME
    assert schemes["bearer"]["scheme"] == "bearer"
    health = schema.document("cosmiv")["paths"]["/health"]["get"]
    assert health["security"] == [{}]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_loads_only_our_own_files(client: Client, page: str) -> None:
    answer = client.get(page)
    assert answer.status_code == 200
    html = answer.content.decode()
    assert "//" not in re.sub(r"<!.*?>", "", html)
    for asset in re.findall(r'(?:src|href)="/static/([^"]+)"', html):
        assert finders.find(asset), asset
    assert html.count("<script") == html.count('<script src="/static/')
    assert "<style" not in html
    policy = answer["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert ("'unsafe-inline'" in policy) == ("redoc" in page)
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy


def test_each_swagger_page_opens_its_own_guide(client: Client) -> None:
    for page, title in (("/api/docs", "Focus"), ("/api/docs/", "reviv.pics")):
        assert f"<title>{title} API</title>" in client.get(page).content.decode()


@every_contract
def test_a_page_links_to_every_guide(client: Client, slug: str) -> None:
    html = client.get(f"/api/docs?contract={slug}").content.decode()
    assert re.findall(r'href="/api/docs\?contract=(\w+)"', html) == CONTRACTS
    assert f'data-document="/api/openapi.json?contract={slug}"' in html
    assert f'?contract={slug}" aria-current="page"' in html


class Undescribed(TheFocus, ViewSet):
    accepts = {"create": PUBLIC}

    def create(self, request: Any) -> Response:
        return Response({})


urlpatterns = [
    path("api/undescribed", Undescribed.as_view({"post": "create"})),
    *urls.urlpatterns,
]


@pytest.mark.urls(__name__)
def test_a_view_without_a_description_fails_the_check() -> None:
    with pytest.raises(CommandError, match="Undescribed"):
        call_command("check_openapi", stdout=StringIO())
