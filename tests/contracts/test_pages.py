"""Error pages for browsers: they say what happened and what to do."""

import json
import logging
from io import StringIO

import pytest
from django.test import Client

from focus import logs
from focus.web import fallback

pytestmark = pytest.mark.urls("tests.contracts.probes")


@pytest.fixture
def anyone() -> Client:
    return Client(raise_request_exception=False)


@pytest.mark.parametrize(
    ("where", "status", "says"),
    [
        ("/nowhere", 404, "Page not found"),
        ("/v10/nowhere", 404, "Page not found"),
        ("/broken-page?raise=http404", 404, "Page not found"),
        ("/broken-page?raise=denied", 403, "You do not have access"),
        ("/broken-page?raise=fields", 413, "That is too large"),
        ("/broken-page?raise=database", 503, "We will be right back"),
        ("/broken-page?raise=bug", 500, "Something went wrong on our side"),
    ],
)
def test_a_page_says_what_happened_and_what_to_do(
    anyone: Client, where: str, status: int, says: str
) -> None:
    answer = anyone.get(where, headers={"X-Request-ID": "support.case-1"})
    assert answer.status_code == status
    assert answer["Content-Type"] == "text/html; charset=utf-8"
    page = answer.content.decode()
    assert says in page
    assert "support.case-1" in page
    assert "hunter2" not in page
    assert "Traceback" not in page
    assert answer["Cache-Control"] == "no-store"


def test_a_page_without_a_database_says_when_to_retry(anyone: Client) -> None:
    assert anyone.get("/broken-page?raise=database")["Retry-After"] == "1"


def test_a_page_that_fails_to_render_is_still_an_error_page(
    anyone: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> str:
        raise ValueError("Missing staticfiles manifest entry")

    monkeypatch.setattr(fallback, "render_to_string", broken)
    answer = anyone.get("/broken-page?raise=bug")
    assert answer.status_code == 500
    assert "<h1>Something went wrong on our side</h1>" in answer.content.decode()


def test_an_unknown_host_gets_a_page_on_a_page(anyone: Client) -> None:
    answer = anyone.get("/", HTTP_HOST="evil.example")
    assert answer.status_code == 400
    assert "request is not valid" in answer.content.decode()


def test_the_log_line_of_a_refusal_names_its_request(anyone: Client) -> None:
    line = StringIO()
    handler = logging.StreamHandler(line)
    handler.setFormatter(logs.Json())
    logger = logging.getLogger("django.request")
    logger.addHandler(handler)
    try:
        anyone.get(
            "/v1/nowhere?token=s3cr3t", headers={"X-Request-ID": "support.case-2"}
        )
    finally:
        logger.removeHandler(handler)
    said = json.loads(line.getvalue())
    assert said["request_id"] == "support.case-2"
    assert "s3cr3t" not in line.getvalue()
