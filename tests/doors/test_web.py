"""Behaviour of a real web server: chunked bodies, lengths and early refusals."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from devtools.launcher import run
from tests import processes

LOGIN = "/api/auth/login"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("web") / "log"


@pytest.fixture(scope="module")
def web(log: Path) -> Iterator[str]:
    """The web server as `./dev run` starts it, without a database."""
    port = processes.free_port()
    _, *command = run.services(port)["web"]
    with processes.running(*command, log=log, PORT=str(port)):
        processes.until(lambda: _is_up(port), seconds=60)
        yield f"http://127.0.0.1:{port}"


def _is_up(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _chunks(*parts: bytes) -> Iterator[bytes]:
    yield from parts


def test_a_body_in_chunks_is_read(web: str) -> None:
    sent = _chunks(b'{"email": "alice@exam', b'ple.com"}')
    answer = requests.post(web + LOGIN, data=sent, headers=JSON, timeout=30)
    assert answer.status_code == 400
    assert answer.json()["error"]["data"] == {"password": ["This field is required."]}


def test_too_many_chunks_are_413(web: str) -> None:
    sent = _chunks(*[b"x" * 100_000] * 40)
    answer = requests.post(web + LOGIN, data=sent, headers=JSON, timeout=30)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "PAYLOAD_TOO_LARGE"


def test_the_client_receives_the_refusal_of_fifty_megabytes(web: str) -> None:
    body = b"x" * 50_000_000
    answer = requests.post(web + LOGIN, data=body, headers=JSON, timeout=30)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "PAYLOAD_TOO_LARGE"


def test_a_response_has_a_content_length(web: str) -> None:
    for path in ("/api/nothing", "/nothing", "/api/docs", "/static/focus/refusal.css"):
        answer = requests.get(web + path, timeout=30, headers={"Accept-Encoding": ""})
        assert answer.headers["Content-Length"] == str(len(answer.content))
        assert "Transfer-Encoding" not in answer.headers
        head = requests.head(web + path, timeout=30, headers={"Accept-Encoding": ""})
        assert head.headers["Content-Length"] == answer.headers["Content-Length"]


def test_a_preflight_of_our_own_origin_is_answered(web: str) -> None:
    headers = {
        "Origin": web.replace("127.0.0.1", "localhost"),
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
    }
    answer = requests.options(web + LOGIN, timeout=30, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == headers["Origin"]
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert len(answer.headers["X-Request-ID"]) == 32


def test_raw_bytes_in_a_request_are_answered(web: str) -> None:
    host, port = web.removeprefix("http://").split(":")
    rest = b"Host: localhost\r\nConnection: close\r\nX-Request-ID: \xff\xfe\r\n\r\n"
    for line, status in (
        (b"GET /v1/%00%ff?a=%ff HTTP/1.1", b"400"),
        (b"GET /v1/projects/%ED%A0%80 HTTP/1.1", b"401"),
    ):
        with socket.create_connection((host, int(port)), timeout=30) as link:
            link.sendall(line + b"\r\n" + rest)
            said = link.makefile("rb").read()
        assert said.startswith(b"HTTP/1.1 " + status)
        assert b'{"statusCode":' + status in said


def test_the_log_contains_no_token(web: str, log: Path) -> None:
    requests.get(web + "/signin/nothing?token=s3cr3t&code=s3cr3t", timeout=30)
    requests.get(web + LOGIN, headers={"Authorization": "Bearer s3cr3t"}, timeout=30)
    processes.until(lambda: "GET /api/auth/login 405" in log.read_text())
    assert "GET /signin/nothing 404" in log.read_text()
    assert "s3cr3t" not in log.read_text()
