"""The web server: heads, slow bodies, early responses, many connections."""

import json
import shutil
import socket
import subprocess
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import requests

from focus.server import body, refusals, threads
from tests import processes
from tests.perimeter import raw
from tests.perimeter.conftest import serving

HERE = Path(__file__).parent
FORM = "Content-Type: application/x-www-form-urlencoded"
CSRF = f"Cookie: focus_csrf={'a' * 32}"
JSON_BODY = "Content-Type: application/json"


def half_sent(path: str, *headers: str) -> bytes:
    return raw.head(f"POST {path} HTTP/1.1", "Content-Length: 100", *headers)


def healthy(port: int) -> bool:
    answer = requests.get(f"http://127.0.0.1:{port}/api/openapi.json", timeout=30)
    return answer.status_code == 200


# --- slow bodies ------------------------------------------------------------------


def test_half_sent_bodies_delay_no_other_request(port: int) -> None:
    links = [raw.connect(port) for _ in range(40)]
    for link in links:
        link.sendall(half_sent("/signin", FORM, CSRF))
    try:
        # Forty are ten times the threads, and each waits for ten seconds.
        assert [healthy(port) for _ in range(5)] == [True] * 5
        answers = [raw.read_response(link) for link in links]
        assert Counter(answer.status for answer in answers) == {408: 40}
        assert b"That took too long" in answers[0].body
    finally:
        for link in links:
            link.close()


def test_a_slow_body_is_408_as_its_guide_says(port: int) -> None:
    with raw.connect(port) as link:
        link.sendall(half_sent("/api/auth/login", JSON_BODY))
        answer = raw.read_response(link)
        assert link.recv(1) == b""
    assert answer.status == 408
    assert answer.headers["connection"] == "close"
    assert answer.json()["error"]["code"] == "REQUEST_TIMEOUT"


def test_a_body_that_drips_ends_at_its_deadline(port: int) -> None:
    """Each byte is in time, but the whole body is not."""
    assert body.BASE_SECONDS + 100 / body.SLOWEST_BYTES_PER_SECOND < 31
    with raw.connect(port, timeout=3) as link:
        link.sendall(half_sent("/api/auth/login", JSON_BODY))
        answer = None
        for _ in range(15):
            try:
                answer = raw.read_response(link)
                break
            except TimeoutError:
                link.sendall(b" ")
        assert answer is not None
        assert answer.status == 408


def test_the_waiting_requests_of_an_address_are_limited(port: int) -> None:
    most = threads.MOST_WAITING_PER_ADDRESS
    links = [raw.connect(port) for _ in range(most + 20)]
    for link in links:
        link.sendall(half_sent("/api/auth/login", JSON_BODY))
    answers = [raw.read_response(link) for link in links]
    for link in links:
        link.close()
    assert Counter(answer.status for answer in answers) == {408: most, 503: 20}
    busy = next(answer for answer in answers if answer.status == 503)
    assert busy.headers["retry-after"] == "1"
    assert busy.json()["error"]["code"] == "SERVICE_UNAVAILABLE"


def test_clients_that_disconnect_in_their_body_hold_no_thread(port: int) -> None:
    for _ in range(20):
        with raw.connect(port) as link:
            link.sendall(half_sent("/api/auth/login", JSON_BODY) + b"{")
    assert healthy(port)


def test_a_body_in_pieces_is_read_whole(port: int) -> None:
    sent = b'{"email": "alice@example.com"}'
    head = raw.head(
        "POST /api/auth/login HTTP/1.1", JSON_BODY, f"Content-Length: {len(sent)}"
    )
    with raw.connect(port) as link:
        link.sendall(head)
        for byte in sent:
            link.sendall(bytes([byte]))
        answer = raw.read_response(link)
    assert answer.status == 400
    assert answer.json()["error"]["data"] == {"password": ["This field is required."]}


# --- refusals before the body -----------------------------------------------------


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("POST /api/jobs HTTP/1.1", 401),
        ("POST /v1/projects HTTP/1.1", 401),
        ("POST /api/v2/jobs HTTP/1.1", 401),
        ("POST /api/nothing HTTP/1.1", 404),
        ("DELETE /api/auth/login HTTP/1.1", 405),
        ("POST /v1/nothing HTTP/1.1", 404),
    ],
)
def test_a_refusal_does_not_wait_for_the_body(
    port: int, line: str, status: int
) -> None:
    """The response arrives before any byte of the body."""
    for length in ("Content-Length: 100", "Transfer-Encoding: chunked"):
        with raw.connect(port) as link:
            link.sendall(raw.head(line, JSON_BODY, length))
            assert raw.read_response(link).status == status


def test_a_spent_limit_refuses_before_the_body(
    tmp_path_factory: pytest.TempPathFactory, django_db_setup: None
) -> None:
    for port in serving(tmp_path_factory, RATE_LIMIT_SCALE="0.3"):
        spent = [raw.send(port, half_sent("/api/auth/login") + b"x" * 100).status]
        while spent[-1] != 429:
            spent.append(
                raw.send(port, half_sent("/api/auth/login") + b"x" * 100).status
            )
            assert len(spent) < 20
        for path, headers in (
            ("/api/auth/login", [JSON_BODY]),
            ("/signin", [FORM, CSRF]),
            ("/forgot", [FORM, CSRF]),
            ("/security/password", [FORM, CSRF]),
            ("/email/verify", [FORM, CSRF]),
            ("/identities/google/link", [FORM, CSRF]),
            ("/links/github/connect", [FORM, CSRF]),
        ):
            with raw.connect(port) as link:
                link.sendall(half_sent(path, *headers))
                answer = raw.read_response(link)
            assert answer.status == 429
            assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
@pytest.mark.parametrize("size", [64 * 1024, 5_000_000])
@pytest.mark.parametrize(
    ("path", "headers", "outcomes"),
    [
        ("/api/v2/jobs", {}, {"401 success,error", "413 success,error"}),
        ("/api/jobs", {}, {"401 error,message", "413 error,message"}),
        ("/api/nothing", {}, {"404 error,message"}),
        (
            "/v1/projects",
            {},
            {"401 statusCode,message,error"} | {"413 statusCode,message,error"},
        ),
    ],
)
def test_node_reads_every_early_response(
    port: int, size: int, path: str, headers: dict[str, str], outcomes: set[str]
) -> None:
    url = f"http://127.0.0.1:{port}{path}"
    script = str(HERE / "early.mjs")
    command = ["node", script, url, str(size), "25", json.dumps(headers)]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    seen = json.loads(said.stdout)
    assert sum(seen.values()) == 25
    assert set(seen) <= outcomes, seen


def test_a_drained_connection_serves_the_next_request(port: int) -> None:
    sent = b"x" * 300_000
    head = raw.head("POST /api/nothing HTTP/1.1", f"Content-Length: {len(sent)}")
    with raw.connect(port) as link:
        for _ in range(3):
            link.sendall(head + sent)
            assert raw.read_response(link).status == 404


def test_a_drain_ends(port: int) -> None:
    """The server closes the connection of a refused client that sends nothing more."""
    head = raw.head("POST /api/nothing HTTP/1.1", "Content-Length: 100000")
    with raw.connect(port) as link:
        link.sendall(head + b"x")
        assert raw.read_response(link).status == 404
        assert link.recv(1) == b""


def test_expect_continue_is_answered_before_the_body(port: int) -> None:
    expects = ("Expect: 100-continue", "Content-Length: 5000000", JSON_BODY)
    with raw.connect(port) as link:
        link.sendall(raw.head("POST /api/jobs HTTP/1.1", *expects))
        answer = raw.read_response(link)
        assert link.recv(1) == b""
    assert answer.status in (401, 413)
    sent = b'{"email": "alice@example.com"}'
    length = f"Content-Length: {len(sent)}"
    with raw.connect(port) as link:
        link.sendall(
            raw.head("POST /api/auth/login HTTP/1.1", expects[0], length, JSON_BODY)
        )
        assert link.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        link.sendall(sent)
        assert raw.read_response(link).status == 400


# --- heads ------------------------------------------------------------------------


def test_the_servers_own_refusals_are_json(port: int) -> None:
    long = "a" * (refusals.MOST_TARGET_BYTES + 1)
    large = f"X-Large: {'a' * refusals.MOST_HEADER_BYTES}"
    many = [f"X-{n}: 1" for n in range(refusals.MOST_HEADERS + 1)]
    for sent, status in (
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nBad Header\r\n\r\n", 400),
        (raw.head("GET / HTTP/1.1", "Content-Length: 1x"), 400),
        (raw.head("POST / HTTP/1.1", "Content-Length: 1", "Content-Length: 2"), 400),
        (raw.head(f"GET /api/wallet?{long} HTTP/1.1"), 414),
        (raw.head(f"GET /{long * 20} HTTP/1.1"), 414),
        (raw.head("GET /api/wallet HTTP/1.1", large), 431),
        (raw.head("GET /api/wallet HTTP/1.1", large * 20), 431),
        (raw.head("GET /api/wallet HTTP/1.1", *many), 431),
    ):
        answer = raw.send(port, sent)
        assert answer.status == status, sent[:60]
        assert answer.headers["content-type"] == "application/json"
        assert len(answer.headers["x-request-id"]) == 32
        assert answer.json()["message"]
        assert answer.json()["error"]


def test_the_servers_own_refusals_follow_their_guide(port: int) -> None:
    large = f"X-Large: {'a' * refusals.MOST_HEADER_BYTES}"
    for path, keys in (
        ("/api/wallet", {"error", "message"}),
        ("/api/v1/verify-user", {"error", "message"}),
        ("/api/credits/packs/", {"error"}),
        ("/api/v2/jobs", {"success", "error"}),
        ("/v1/projects", {"statusCode", "message", "error"}),
    ):
        answer = raw.send(port, raw.head(f"GET {path} HTTP/1.1", large))
        assert answer.status == 431
        assert set(answer.json()) == keys
        assert "x-ratelimit-limit" in answer.headers


def test_a_connection_with_an_endless_head_is_closed(port: int) -> None:
    with raw.connect(port) as link:
        link.sendall(b"GET / HTTP/1.1\r\n")
        assert link.recv(1) == b""
    with raw.connect(port) as link:
        assert link.recv(1) == b""


def test_a_query_that_is_not_ascii_is_percent_encoded(port: int) -> None:
    for query in ("caf\u00e9", "%ff"):
        sent = f"GET /api/v1/nothing?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert raw.send(port, sent.encode()).status == 404


def test_an_upgrade_that_is_not_granted_is_answered_in_http_1(port: int) -> None:
    upgrade = (
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AA",
    )
    sent = b'{"email": "a@example.com"}'
    length = f"Content-Length: {len(sent)}"
    head = raw.head("POST /api/auth/login HTTP/1.1", JSON_BODY, length, *upgrade)
    answer = raw.send(port, head + sent)
    assert answer.status == 400
    assert answer.headers["connection"] == "close"


# --- header names with underscores ------------------------------------------------


def test_a_header_with_an_underscore_is_dropped(port: int) -> None:
    """Otherwise a client could add to the header of a proxy."""
    length = "Content-Length: 0"
    plain = raw.send(port, raw.head("POST /api/jobs HTTP/1.1", length, "X_Api_Key: x"))
    assert plain.status == 401
    assert plain.json()["message"] == "Sign in or send a credential."
    hyphened = raw.head("POST /api/jobs HTTP/1.1", length, "X-Api-Key: x")
    assert raw.send(port, hyphened).json()["message"] != plain.json()["message"]
    mixed = "Content_Length: 9999999999"
    assert raw.send(port, raw.head("GET /health HTTP/1.1", mixed)).status in (200, 503)


def test_an_underscore_does_not_forge_an_address(
    tmp_path_factory: pytest.TempPathFactory, transactional_db: None
) -> None:
    trusted = {"TRUSTED_PROXIES": "127.0.0.0/8", "RATE_LIMIT_SCALE": "1"}
    for port in serving(tmp_path_factory, **trusted):
        statuses = []
        for n in range(13):
            answer = requests.post(
                f"http://127.0.0.1:{port}/api/auth/login",
                headers={
                    "X-Forwarded-For": "203.0.113.9",
                    "X_Forwarded_For": f"198.51.100.{n}",
                },
                json={"email": f"n{n}@example.com", "password": "a wrong password"},
                timeout=30,
            )
            statuses.append(answer.status_code)
        assert statuses == [401] * 10 + [429] * 3


# --- many connections -------------------------------------------------------------


def test_the_connections_of_an_address_are_limited(
    tmp_path_factory: pytest.TempPathFactory, django_db_setup: None
) -> None:
    for port in serving(tmp_path_factory, WEB_CONNECTIONS_PER_ADDRESS="20"):
        links = [raw.connect(port) for _ in range(30)]
        statuses: Counter[int] = Counter()
        for link in links:
            link.sendall(raw.head("GET /v1/nothing HTTP/1.1"))
            statuses[raw.read_response(link).status] += 1
        assert statuses == {404: 20, 429: 10}
        for link in links:
            link.close()
        processes.until(partial(healthy, port))


def test_clients_that_do_not_read_hold_no_thread(port: int) -> None:
    """Twenty clients request a large file, and read nothing of it."""
    links = []
    for _ in range(20):
        link = socket.socket()
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.connect(("127.0.0.1", port))
        path = "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"
        link.sendall(raw.head(f"GET {path} HTTP/1.1"))
        links.append(link)
    assert [healthy(port) for _ in range(5)] == [True] * 5
    assert raw.read_response(links[0]).status == 200
    for link in links:
        link.close()
