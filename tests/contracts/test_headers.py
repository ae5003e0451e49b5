"""Headers of every response: request id, security headers, CORS."""

from typing import Any

import pytest
from django.test import Client

EVERYWHERE = [
    "/api/wallet",
    "/api/openapi.json",
    "/api/docs",
    "/api/redoc/",
    "/v1/nothing",
    "/api/auth/nothing",
    "/api/health/",
    "/nothing",
    "/signin",
    "/admin/login/",
    "/static/focus/refusal.css",
]
everywhere = pytest.mark.parametrize("where", EVERYWHERE)


class Tidy(Client):
    """Closes each response, because a static file stays open otherwise."""

    def get(self, *args: Any, **kwargs: Any) -> Any:
        answer = super().get(*args, **kwargs)
        answer.close()
        return answer


@pytest.fixture
def anyone(db: None) -> Client:
    return Tidy(raise_request_exception=False)


@everywhere
def test_a_callers_request_id_comes_back(anyone: Client, where: str) -> None:
    for ours in ("case-0001", "A.b_c-1234", "x" * 128):
        answer = anyone.get(where, headers={"X-Request-ID": ours})
        assert answer["X-Request-ID"] == ours


@everywhere
def test_an_invalid_request_id_is_replaced(anyone: Client, where: str) -> None:
    seen = set()
    for theirs in (
        "",
        "short",
        "x" * 129,
        "has space",
        "new\nline-",
        "<script>8",
        "é" * 9,
    ):
        headers = {"X-Request-ID": theirs} if theirs else {}
        answer = anyone.get(where, headers=headers)
        assert len(answer["X-Request-ID"]) == 32
        seen.add(answer["X-Request-ID"])
    assert len(seen) == 7


@everywhere
def test_every_response_has_security_headers(anyone: Client, where: str) -> None:
    answer = anyone.get(where)
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in answer["Permissions-Policy"]
    policy = answer["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    scripts = [part for part in policy.split("; ") if part.startswith("script-src")]
    assert "unsafe-inline" not in "".join(scripts)
    if "static" not in where:
        assert answer["Cache-Control"] == "no-store"


def test_only_the_admin_allows_unsafe_eval(anyone: Client) -> None:
    for where in EVERYWHERE:
        policy = anyone.get(where)["Content-Security-Policy"]
        assert ("'unsafe-eval'" in policy) == where.startswith("/admin")


def test_an_api_answer_has_the_strictest_policy(anyone: Client) -> None:
    for where in ("/api/wallet", "/api/openapi.json", "/v1/nothing", "/api/health/"):
        policy = anyone.get(where)["Content-Security-Policy"]
        assert policy == "default-src 'none'; frame-ancestors 'none'"


def test_another_site_may_not_read_with_credentials(anyone: Client) -> None:
    answer = anyone.get("/api/openapi.json", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in answer.headers
