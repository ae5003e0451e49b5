"""HTTP on loopback: Stripe's API, the hosted pages, the control API."""

import json
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from . import control, pages
from .api import Api
from .deliveries import Deliverer
from .errors import Refused
from .state import State

LARGEST_BODY = 1024 * 1024
NAMES = ("localhost", "127.0.0.1", "[::1]")


class Server(ThreadingHTTPServer):
    """The HTTP server on 127.0.0.1, with a clock that lets time pass."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, state: State, api: Api, deliverer: Deliverer) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.state = state
        self.api = api
        self.deliverer = deliverer
        self.ended = threading.Event()
        threading.Thread(target=self._clock, daemon=True).start()

    def _clock(self) -> None:
        """Expire sessions and end periods once a second."""
        while not self.ended.wait(1.0):
            with self.state.lock:
                events = len(self.state.deliveries)
                control.pass_time(self.state)
                if len(self.state.deliveries) != events:
                    self.state.save()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "StripeEmulator"
    sys_version = ""
    timeout = 60
    server: Server

    def do_GET(self) -> None:
        self._answer("get")

    def do_POST(self) -> None:
        self._answer("post")

    def do_DELETE(self) -> None:
        self._answer("delete")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Print nothing: the control page lists the requests."""

    def _answer(self, method: str) -> None:
        parts = urlsplit(self.path)
        try:
            body = self._body()
            if body is None:
                return
            self._guard(method)
            if parts.path.startswith("/v1/"):
                self._api(method, parts.path, parts.query, body)
            elif parts.path.removeprefix("/_emulator/") not in ("", parts.path):
                self._control(method, parts.path, body)
            else:
                self._page(method, parts.path, body)
        except Refused as refused:
            self._json(refused.status, {"error": refused.error})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        except Exception:
            traceback.print_exc()
            error = {
                "type": "api_error",
                "message": "The emulator failed; see its log.",
            }
            self._json(500, {"error": error})

    def _body(self) -> str | None:
        length = self.headers.get("Content-Length") or "0"
        if not length.isdigit() or int(length) > LARGEST_BODY:
            self.close_connection = True
            self._json(413, {"error": {"type": "invalid_request_error"}})
            return None
        return self.rfile.read(int(length)).decode(errors="replace")

    def _guard(self, method: str) -> None:
        """Refuse another Host (DNS rebinding), and forms of other origins (CSRF)."""
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        if host not in NAMES:
            raise Refused("The emulator answers to localhost only.", status=421)
        origin = self.headers.get("Origin")
        if method == "get" or not origin:
            return
        if origin == "null" or urlsplit(origin).netloc != self.headers["Host"]:
            raise Refused("This came from another site's page.", status=403)

    def _api(self, method: str, path: str, query: str, body: str) -> None:
        headers = {name.title(): value for name, value in self.headers.items()}
        made = self.server.api.answer(method, path, query, body, headers)
        if made.lost:
            self.close_connection = True
            self.connection.close()
            return
        self._json(made.status, made.body, made.headers)

    def _control(self, method: str, path: str, body: str) -> None:
        given = (
            json.loads(body)
            if body.startswith("{")
            else dict(parse_qsl(body, keep_blank_values=True))
        )
        made = control.answer(
            self.server.state, self.server.deliverer, method, path, given
        )
        if "text/html" in self.headers.get("Accept", "") and method == "post":
            self._redirect(self.headers.get("Referer") or "/_emulator/")
            return
        self._json(200, made)

    def _page(self, method: str, path: str, body: str) -> None:
        page = pages.answer(
            self.server.state,
            self.server.deliverer,
            method,
            path,
            dict(parse_qsl(body, keep_blank_values=True)),
        )
        if page.location:
            self._redirect(page.location)
        else:
            self._send(page.status, page.html.encode(), "text/html; charset=utf-8", {})

    def _redirect(self, location: str) -> None:
        self._send(303, b"", "text/plain", {"Location": location})

    def _json(
        self, status: int, body: Any, headers: dict[str, str] | None = None
    ) -> None:
        with self.server.state.lock:
            text = json.dumps(body, indent=2).encode()
        self._send(status, text, "application/json", headers or {})

    def _send(
        self, status: int, body: bytes, kind: str, headers: dict[str, str]
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if kind.startswith("text/html"):
            policy = "default-src 'none'; style-src 'unsafe-inline'"
            self.send_header("Content-Security-Policy", policy)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
