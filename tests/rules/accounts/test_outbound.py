"""Requests to other services: one response, no redirects, limits of size and time."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from accounts.providers import outbound
from accounts.providers.outbound import ServiceDown


class Service(BaseHTTPRequestHandler):
    asked: list[tuple[str, str, bytes]] = []

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.asked.append((self.command, self.path, self.rfile.read(length)))
        body = b'{"ok": true}'
        if self.path == "/long":
            body = b"x" * (outbound.MAX_BYTES + 1)
        status = {"/down": 503, "/moved": 302, "/no": 404}.get(self.path, 200)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_form_is_posted_and_a_json_object_is_read(address: str):
    reply = outbound.post(f"{address}/token", {"code": "a b"})
    assert (reply.status, reply.json()) == (200, {"ok": True})
    assert Service.asked[-1] == ("POST", "/token", b"code=a+b")


def test_a_4xx_is_returned(address: str):
    assert outbound.get(f"{address}/no").status == 404


def test_a_redirect_is_not_followed(address: str):
    assert outbound.get(f"{address}/moved").status == 302
    assert Service.asked[-1][1] == "/moved"


@pytest.mark.parametrize("path", ["/down", "/long"])
def test_an_unusable_response_is_service_down(address: str, path: str):
    with pytest.raises(ServiceDown):
        outbound.get(f"{address}{path}")


def test_a_refused_connection_does_not_reveal_the_url():
    with pytest.raises(ServiceDown) as refusal:
        outbound.get("http://127.0.0.1:9/token?code=secret")
    assert "secret" not in str(refusal.value)


def test_a_body_that_is_no_json_object_is_refused():
    for body in (b"", b"[1]", b"{", b"\xff"):
        with pytest.raises(ServiceDown):
            outbound.Reply(200, body).json()
