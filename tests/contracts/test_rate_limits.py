"""Rate limits for callers: headers on every response, 429 in each guide's format."""

import re
import time
from datetime import datetime
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from rest_framework.test import APIClient

from accounts.credentials import app_keys, opaque
from accounts.models import App, User
from focus.limiting.limiter import process_limiter
from tests.contracts.probes import (
    DIALECTS,
    FOCUS,
    ONESUB,
    RAISED,
    Dialect,
    every_dialect,
)

pytestmark = [
    pytest.mark.urls("tests.contracts.probes"),
    pytest.mark.usefixtures("real_limits"),
    pytest.mark.django_db,
]
TRIO = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


@pytest.fixture
def anyone() -> Client:
    return Client(raise_request_exception=False)


def left(answer: Any) -> tuple[int, int]:
    return int(answer["X-RateLimit-Limit"]), int(answer["X-RateLimit-Remaining"])


def check_headers(answer: Any, dialect: Dialect) -> None:
    limit, remaining = left(answer)
    assert 0 <= remaining <= limit
    reset = answer["X-RateLimit-Reset"]
    if dialect is ONESUB:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", reset)
        moment = datetime.fromisoformat(reset).timestamp()
        assert int(answer["Retry-After"]) >= 1
    else:
        moment = int(reset)
    assert -1 <= moment - time.time() <= 301
    name, quota, window = re.fullmatch(
        r'("[a-z-]+");q=(\d+);w=(\d+)', answer["RateLimit-Policy"]
    ).groups()  # type: ignore[union-attr]
    assert int(quota) == limit
    rest = re.fullmatch(rf"{name};r=(\d+);t=(\d+)", answer["RateLimit"])
    assert rest is not None
    assert int(rest[1]) == remaining
    assert 1 <= int(rest[2]) <= int(window)


@every_dialect
def test_every_answer_says_what_remains(anyone: Client, dialect: Dialect) -> None:
    path = dialect.path
    slash = "/" if path.endswith("/") else ""
    closed = f"{path.rstrip('/')}/closed{slash}"
    bad = {"Authorization": "Bearer focus_pat_nonsense"}
    answers = [
        anyone.get(path),
        anyone.get(closed),
        anyone.get(closed, headers=bad),
        anyone.patch(path),
        anyone.get(f"{path.rstrip('/')}/nothing/here"),
        anyone.post(path, "{", content_type="application/json"),
        anyone.post(path, "x", content_type="text/plain"),
        anyone.get(path, headers={"Host": "elsewhere.example"}),
        *[
            anyone.post(path, {"raise": what}, content_type="application/json")
            for what in RAISED
        ],
    ]
    statuses = {answer.status_code for answer in answers}
    assert {200, 400, 401, 404, 405, 415, 429, 500, 503} <= statuses
    for answer in answers:
        check_headers(answer, dialect)
    assert [left(answer)[1] for answer in answers[:2]] == [99, 98]
    for free in (anyone.options(path), anyone.options(closed)):
        check_headers(free, dialect)
        assert left(free) == (100, 100)


@every_dialect
def test_the_request_after_the_last_is_refused(
    anyone: Client, dialect: Dialect
) -> None:
    statuses = [anyone.get(dialect.path).status_code for _ in range(101)]
    assert statuses == [200] * 100 + [429]
    refused = anyone.get(dialect.path)
    check_headers(refused, dialect)
    assert left(refused) == (100, 0)
    wait = int(refused["Retry-After"])
    assert 1 <= wait <= 60
    said = f"Rate limit exceeded. Try again in {wait} seconds."
    bodies: list[dict[str, Any]] = [
        {"error": "rate_limited", "message": said},
        {
            "error": "Rate limit exceeded",
            "message": said,
            "retryAfter": wait,
            "retry_after": wait,
        },
        {"error": {"code": "RATE_LIMITED", "message": said, "details": {}}},
        {
            "success": False,
            "error": {"code": "RATE_LIMIT_EXCEEDED", "message": said, "data": {}},
        },
        {"statusCode": 429, "message": said, "error": "Too Many Requests"},
    ]
    assert refused.json() == bodies[DIALECTS.index(dialect)]


@every_dialect
def test_unknown_paths_are_limited_by_address(anyone: Client, dialect: Dialect) -> None:
    stray = f"{dialect.path.rstrip('/')}/nothing/here"
    statuses = [anyone.get(stray).status_code for _ in range(101)]
    assert statuses == [404] * 100 + [429]
    refused = anyone.get(stray, headers={"Origin": "http://localhost:8000"})
    assert refused["Content-Type"] == "application/json"
    assert refused["X-Frame-Options"] == "DENY"
    assert refused["Access-Control-Allow-Origin"] == "http://localhost:8000"
    assert "rate limit" in refused.content.decode().lower()
    # A failure is reported even then.
    gone = anyone.post(
        dialect.path, {"raise": "database"}, content_type="application/json"
    )
    assert gone.status_code == 429


@pytest.mark.parametrize(
    "path",
    ["/health", "/api/health/", "/api/openapi.json", "/api/docs", "/api/docs/", "/api"],
)
def test_views_without_limits_show_the_whole_general_limit(
    anyone: Client, path: str
) -> None:
    for _ in range(3):
        answer = anyone.get(path)
        assert left(answer) == (100, 100)
        check_headers(answer, FOCUS)
    assert left(anyone.get("/api/openapi.json?contract=none")) == (100, 100)


def test_each_guide_and_each_account_has_its_own_limit(
    as_alice: APIClient, as_bob: APIClient, anyone: Client
) -> None:
    for _ in range(100):
        assert as_alice.get("/api/tokens").status_code == 200
    assert as_alice.get("/api/tokens").status_code == 429
    assert as_alice.get("/api/wallet").status_code == 429
    assert as_alice.get("/api/v2/probe").status_code == 200
    assert as_bob.get("/api/tokens").status_code == 200
    assert anyone.get(FOCUS.path).status_code == 200


def test_two_tokens_of_one_account_share_its_limit(
    alice: User, as_alice: APIClient, caller: Any
) -> None:
    assert left(as_alice.get("/api/tokens")) == (100, 99)
    assert left(caller(alice).get("/api/tokens")) == (100, 98)


def test_each_key_of_an_app_has_its_own_limit(video: App, as_video: APIClient) -> None:
    second = app_keys.issue(app=video, name="second").secret
    other = APIClient(headers={"Authorization": f"Bearer {second}"})
    assert left(as_video.get("/api/jobs")) == (100, 99)
    assert left(as_video.get("/api/jobs")) == (100, 98)
    assert left(other.get("/api/jobs")) == (100, 99)


def test_a_forbidden_request_counts(as_video: APIClient) -> None:
    assert as_video.get("/api/tokens").status_code == 403
    assert left(as_video.get("/api/tokens")) == (100, 98)


def test_an_agreed_limit_can_be_set_and_removed(
    alice: User, video: App, as_alice: APIClient, as_video: APIClient
) -> None:
    call_command("set_rate_limit", "Alice@example.com", "3")
    call_command("set_rate_limit", "video", "250")
    statuses = [as_alice.get("/api/tokens").status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    assert left(as_video.get("/api/jobs")) == (250, 249)
    call_command("set_rate_limit", "alice@example.com", "usual")
    assert left(as_alice.get("/api/tokens")) == (100, 96)


@pytest.mark.parametrize(
    ("holder", "limit"),
    [("unknown@example.com", "5"), ("nothing", "5"), ("video", "0"), ("video", "x")],
)
def test_an_invalid_limit_is_refused(video: App, holder: str, limit: str) -> None:
    with pytest.raises(CommandError):
        call_command("set_rate_limit", holder, limit)


def test_the_scale_multiplies_every_limit(
    anyone: Client, as_alice: APIClient, settings: Any
) -> None:
    call_command("set_rate_limit", "alice@example.com", "3")
    settings.RATE_LIMIT_SCALE = 2.5
    assert left(anyone.get(FOCUS.path)) == (250, 249)
    assert left(as_alice.get("/api/tokens"))[0] == 8
    settings.RATE_LIMIT_SCALE = 0.001
    assert left(anyone.post("/api/device/start"))[0] == 1


LOGIN = {"email": "alice@example.com", "password": "alice's password"}


def test_all_sign_in_endpoints_share_one_limit(anyone: Client, alice: User) -> None:
    for n in range(5):
        assert anyone.post("/api/auth/login", LOGIN).status_code == 200
        assert anyone.post("/api/auth/register", {"email": n}).status_code == 400
    refused = anyone.post("/api/auth/login", LOGIN)
    assert (refused.status_code, left(refused)) == (429, (10, 0))
    assert refused.json()["error"]["code"] == "RATE_LIMIT_EXCEEDED"
    page = anyone.post("/signin", LOGIN)
    assert page.status_code == 429
    assert "Rate limit exceeded. Try again in" in page.content.decode()
    assert int(page["Retry-After"]) >= 1
    assert page["Content-Type"].startswith("text/html")
    assert anyone.get("/signin").status_code == 200


def test_device_sign_in_is_limited_by_address_and_by_code(
    as_stranger: APIClient,
) -> None:
    anyone = as_stranger
    answers = [anyone.post("/api/device/start") for _ in range(11)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert left(answers[0]) == (10, 9)
    code, other = (answers[n].json()["device_code"] for n in (0, 1))
    polls = [anyone.get(f"/api/device/poll?device_code={code}") for _ in range(31)]
    assert [poll.status_code for poll in polls] == [202] * 30 + [429]
    assert polls[30].json()["error"] == "rate_limited"
    assert left(anyone.get(f"/api/device/poll?device_code={other}")) == (30, 29)


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "same"),
    [
        # No proxy is trusted, so the header is ignored.
        ([], "198.51.100.1", ("1.1.1.1", "2.2.2.2"), True),
        (["10.0.0.0/8"], "198.51.100.1", ("1.1.1.1", "2.2.2.2"), True),
        # Our proxy has appended its peer's address. The client invented the rest.
        (["10.0.0.0/8"], "10.0.0.1", ("1.1.1.1, 9.9.9.9", "2.2.2.2, 9.9.9.9"), True),
        (["10.0.0.0/8"], "10.0.0.1", ("9.9.9.9", "8.8.8.8"), False),
        (["10.0.0.0/8"], "10.0.0.1", ("9.9.9.9, 10.0.0.2", "8.8.8.8, 10.1.1.1"), False),
        (["10.0.0.0/8"], "10.0.0.1", ("nonsense", "other nonsense"), True),
        (["unix"], "", ("9.9.9.9", "8.8.8.8"), False),
        ([], "", ("9.9.9.9", "8.8.8.8"), True),
        # An IPv6 customer has a /64 network.
        (["::1/128"], "::1", ("2001:db8::1", "2001:db8::ffff:2"), True),
        (["::1/128"], "::1", ("2001:db8:0:1::1", "2001:db8:0:2::1"), False),
        (["::1/128"], "::1", ("[2001:db8::1]:443", "2001:db8::2"), True),
        (["10.0.0.0/8"], "::ffff:10.0.0.1", ("9.9.9.9:1234", "::ffff:9.9.9.9"), True),
    ],
)
def test_which_address_is_limited(
    anyone: Client,
    settings: Any,
    proxies: list[str],
    peer: str,
    forwarded: tuple[str, str],
    same: bool,
) -> None:
    settings.TRUSTED_PROXIES = proxies
    first, second = (
        anyone.get(FOCUS.path, REMOTE_ADDR=peer, headers={"X-Forwarded-For": hops})
        for hops in forwarded
    )
    assert left(first) == (100, 99)
    assert left(second) == (100, 98 if same else 99)


def test_without_redis_the_limits_apply_per_process(
    anyone: Client, settings: Any
) -> None:
    settings.REDIS_URL = "unix:///nonexistent/redis.sock"
    process_limiter.cache_clear()
    statuses = [anyone.get(FOCUS.path).status_code for _ in range(102)]
    assert statuses == [200] * 100 + [429] * 2
    key = {"Authorization": f"Bearer {opaque.mint(opaque.PAT).text}"}
    statuses = [
        anyone.get("/api/tokens", headers=key, REMOTE_ADDR="203.0.113.9").status_code
        for _ in range(11)
    ]
    assert statuses == [401] * 10 + [429]
    process_limiter.cache_clear()
