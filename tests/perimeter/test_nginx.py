"""nginx in front of the web server, as docker-compose.yml runs them."""

import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from focus.web.fallback import contract_of
from tests import processes
from tests.perimeter import nginx, raw
from tests.perimeter.conftest import serving

HERE = Path(__file__).parent
TRUSTING = {"TRUSTED_PROXIES": "127.0.0.0/8", "BEHIND_TLS_PROXY": "1"}


@pytest.fixture(scope="module")
def web(
    django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    yield from serving(tmp_path_factory, **TRUSTING)


@pytest.fixture(scope="module")
def front(web: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[nginx.Proxy]:
    with nginx.proxy(tmp_path_factory.mktemp("nginx"), web) as proxy:
        yield proxy


@pytest.fixture
def nowhere(tmp_path: Path) -> Iterator[nginx.Proxy]:
    """nginx in front of a port where no server listens."""
    with nginx.proxy(tmp_path, processes.free_port()) as proxy:
        yield proxy


# A path of each contract, and the keys of its refusals.
SHAPES = [
    ("/api/wallet", {"error", "message"}),
    ("/api/v1/credits/consume", {"error", "message"}),
    ("/api/credits/purchase/", {"error"}),
    ("/api/v2/billing/checkout", {"success", "error"}),
    ("/api/auth/login", {"success", "error"}),
    ("/health", {"success", "error"}),
    ("/v1/projects", {"statusCode", "message", "error"}),
]
every_dialect = pytest.mark.parametrize(("path", "keys"), SHAPES)


def in_shape(answer: Any, keys: set[str]) -> None:
    assert answer.headers["Content-Type"] == "application/json"
    assert set(answer.json()) == keys
    assert len(answer.headers["X-Request-ID"]) == 32


def test_a_response_of_web_passes_unchanged(front: nginx.Proxy, web: int) -> None:
    for path in ("/api/openapi.json", "/api/wallet", "/api/nothing", "/v1/projects"):
        there = requests.get(f"http://127.0.0.1:{web}{path}", timeout=30)
        here = requests.get(front.url + path, timeout=30)
        assert (here.status_code, here.content) == (there.status_code, there.content)
        names = {name.lower() for name in here.headers}
        assert {name.lower() for name in there.headers} <= names


@every_dialect
def test_a_large_body_is_413(front: nginx.Proxy, path: str, keys: set[str]) -> None:
    answer = requests.post(front.url + path, data=b"x" * 1_100_000, timeout=30)
    assert answer.status_code == 413
    in_shape(answer, keys)


@every_dialect
def test_without_web_each_contract_refuses_with_502(
    nowhere: nginx.Proxy, path: str, keys: set[str]
) -> None:
    answer = requests.post(nowhere.url + path, json={}, timeout=30)
    assert answer.status_code == 502
    assert answer.headers["Retry-After"] == "1"
    in_shape(answer, keys)


@every_dialect
def test_on_a_full_disk_each_contract_refuses_with_503(
    nowhere: nginx.Proxy, path: str, keys: set[str]
) -> None:
    # A missing folder stands for a full disk.
    shutil.rmtree(nowhere.log.parent / "run" / "bodies")
    answer = requests.post(nowhere.url + path, data=b"x" * 100_000, timeout=30)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    in_shape(answer, keys)


@every_dialect
def test_unsupported_http_is_refused_as_the_contract_says(
    nowhere: nginx.Proxy, path: str, keys: set[str]
) -> None:
    for sent, status in (
        (raw.head(f"TRACE {path} HTTP/1.1"), 405),
        (raw.head(f"POST {path} HTTP/1.1", "Transfer-Encoding: gzip"), 400),
    ):
        answer = raw.send(nowhere.port, sent)
        assert answer.status == status
        assert set(answer.json()) == keys
    # nginx reads no path after an unknown HTTP version.
    answer = raw.send(nowhere.port, raw.head(f"GET {path} HTTP/3.0"))
    assert answer.status == 400
    assert set(answer.json()) == {"error", "message"}


def test_outside_the_contracts_the_refusal_is_a_page(nowhere: nginx.Proxy) -> None:
    answer = requests.get(f"{nowhere.url}/signin", timeout=30)
    assert answer.status_code == 502
    assert answer.headers["Content-Type"] == "text/html"
    assert "Please retry in a moment" in answer.text


def test_headers_that_are_too_large_are_431(front: nginx.Proxy) -> None:
    for path, keys in SHAPES:
        answer = raw.send(
            front.port, raw.head(f"GET {path} HTTP/1.1", f"X: {'a' * 9000}")
        )
        assert answer.status == 431
        assert set(answer.json()) == keys


def test_malformed_requests_are_400_and_long_urls_414_with_a_body(
    front: nginx.Proxy,
) -> None:
    long = f"GET /api/wallet?{'a' * 9000} HTTP/1.1"
    for sent, status in (
        (b"nonsense\r\n\r\n", 400),
        (raw.head("GET /api/wallet HTTP/1.1", "Host: b"), 400),
        (raw.head(long), 414),
    ):
        answer = raw.send(front.port, sent)
        assert answer.status == status
        assert set(answer.json()) == {"error", "message"}


def test_half_a_body_never_reaches_web(front: nginx.Proxy) -> None:
    half = raw.head("POST /api/auth/login HTTP/1.1", "Content-Length: 100")
    links = [raw.connect(front.port) for _ in range(60)]
    for link in links:
        link.sendall(half + b"{")
    try:
        for _ in range(5):
            answer = requests.get(f"{front.url}/api/openapi.json", timeout=30)
            assert answer.status_code == 200
        # nginx closes each connection after ten seconds, without a response.
        assert [link.recv(1) for link in links] == [b""] * 60
    finally:
        for link in links:
            link.close()


def test_a_connection_with_half_a_head_is_closed(front: nginx.Proxy) -> None:
    with raw.connect(front.port) as link:
        link.sendall(b"GET / HTTP/1.1\r\n")
        link.makefile("rb").read()


def test_the_connections_of_an_address_are_limited(front: nginx.Proxy) -> None:
    half = raw.head("POST /v1/auth/login HTTP/1.1", "Content-Length: 100")
    links = [raw.connect(front.port) for _ in range(130)]
    for link in links:
        link.sendall(half + b"{")
    statuses: Counter[int] = Counter()
    for link in links:
        with contextlib.closing(link):
            if link.recv(1, socket.MSG_PEEK) == b"":
                statuses[0] += 1
                continue
            answer = raw.read_response(link)
        statuses[answer.status] += 1
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["statusCode"] == 429
    assert statuses == {0: 100, 429: 30}


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
@pytest.mark.parametrize("size", [64 * 1024, 5_000_000])
@pytest.mark.parametrize(
    ("path", "outcomes"),
    [
        ("/api/v2/jobs", {"401 success,error", "413 success,error"}),
        ("/api/jobs", {"401 error,message", "413 error,message"}),
        ("/api/nothing", {"404 error,message", "413 error,message"}),
        (
            "/v1/projects",
            {"401 statusCode,message,error", "413 statusCode,message,error"},
        ),
    ],
)
def test_node_reads_every_early_response(
    front: nginx.Proxy, size: int, path: str, outcomes: set[str]
) -> None:
    script = str(HERE / "early.mjs")
    command = ["node", script, front.url + path, str(size), "150"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    seen = json.loads(said.stdout)
    assert sum(seen.values()) == 150
    assert set(seen) <= outcomes, seen


def test_large_bodies_pass_only_where_the_guides_upload(front: nginx.Proxy) -> None:
    """A response of web (401, 404 or its own 413) shows that nginx passed the body."""
    bearer = {"Authorization": "Bearer x"}
    large = b"x" * 1_200_000
    for path, headers, ours in (
        ("/api/v2/jobs", bearer, False),
        ("/api/v2/jobs/", bearer, False),
        (f"/files/upload/{'a' * 22}.1x2y3z.{'b' * 43}", {}, False),
        (f"/files/upload/{'a' * 22}.1x2y3z.{'b' * 43}/", {}, False),
        (f"/files/upload/{'a' * 22}.1x2y3z.{'b' * 42}", {}, True),
        ("/v1/uploads/key?signature=x", {}, True),
        ("/api/restorations/upload/", bearer, False),
        ("/v1/uploads/sign", bearer, True),
        ("/api/v2/jobs/1", bearer, True),
        ("/api/restorations/history/", bearer, True),
        ("/v1/uploads/sign/?x", bearer, True),
    ):
        answer = requests.put(front.url + path, data=large, headers=headers, timeout=30)
        by_nginx = "X-RateLimit-Limit" not in answer.headers
        assert by_nginx == ours, path
        assert not ours or answer.status_code == 413
    huge = {"Content-Length": "67200000", **bearer}
    link = raw.connect(front.port)
    head = "POST /api/restorations/upload/ HTTP/1.1"
    link.sendall(raw.head(head, *(f"{name}: {value}" for name, value in huge.items())))
    refused = raw.read_response(link)
    link.close()
    assert refused.status == 413
    assert refused.json()["error"]["code"] == "PAYLOAD_TOO_LARGE"


def test_an_upload_without_a_credential_is_refused_unread(front: nginx.Proxy) -> None:
    with raw.connect(front.port) as link:
        link.sendall(raw.head("POST /api/v2/jobs HTTP/1.1", "Content-Length: 900000"))
        answer = raw.read_response(link)
    assert answer.status == 401
    assert answer.json()["error"]["code"] == "AUTHENTICATION_REQUIRED"


@pytest.mark.usefixtures("real_limits")  # earlier tests signed in, too
def test_the_limit_counts_clients_and_not_the_proxy(
    transactional_db: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    limited = {**TRUSTING, "RATE_LIMIT_SCALE": "1"}
    for web in serving(tmp_path_factory, **limited):
        with nginx.proxy(tmp_path_factory.mktemp("nginx"), web) as proxy:
            statuses = []
            for n in range(13):
                answer = requests.post(
                    f"{proxy.url}/api/auth/login",
                    headers={
                        "X-Forwarded-For": f"198.51.100.{n}",
                        "X_Forwarded_For": f"198.51.100.{n}",
                    },
                    json={"email": f"n{n}@example.com", "password": "a wrong password"},
                    timeout=30,
                )
                statuses.append(answer.status_code)
    assert statuses == [401] * 10 + [429] * 3


def test_no_log_holds_a_query(front: nginx.Proxy, nowhere: nginx.Proxy) -> None:
    for proxy in (front, nowhere):
        requests.get(f"{proxy.url}/signin?code=s3cr3t", timeout=30)
        time.sleep(0.1)
        assert "s3cr3t" not in proxy.log.read_text()


def test_nginx_and_the_product_map_paths_to_the_same_contracts(
    nowhere: nginx.Proxy,
) -> None:
    shapes = {
        None: None,
        "focus": {"error", "message"},
        "onesub": {"error", "message"},
        "reviv": {"error"},
        "cosmiv": {"success", "error"},
        "clipforge": {"statusCode", "message", "error"},
    }
    for path in (
        "/",
        "/signin",
        "/v1",
        "/v1/x",
        "//v1/x",
        "/V1/x",
        "/v10",
        "/api",
        "/api/",
        "/api/docs",
        "/api/docs/",
        "/api/redoc",
        "/api/redoc/",
        "/api/v1/x",
        "/api/checkout",
        "/api/checkout/x",
        "/api//v2/x",
        "/API/v2/x",
        "/api/auth/login",
        "/api/auth/login/",
        "/api/auth/me/",
        "/api/auth/x",
        "/api/credits/x",
        "/api/health/",
        "/api/schema",
        "/api/restorations/1",
        "/api/x",
        "/apiary",
        "/files",
        "/files/x/y",
        "/files/upload",
        "/files/upload/x",
        "/Files/Upload/x",
        "/files/uploads/x",
        "/filesystem",
        "/health",
        "/health/",
        "/healthy",
        "/admin/",
    ):
        answer = raw.send(nowhere.port, raw.head(f"GET {path}?x=/v1/ HTTP/1.1"))
        contract = contract_of(path)
        shape = shapes[contract.slug if contract else None]
        json_keys = None
        if answer.headers["content-type"] == "application/json":
            json_keys = set(answer.json())
        assert json_keys == shape, path
