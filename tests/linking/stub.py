"""The web server that the stubs of Steam and X share.

A test sets their knobs by `POST /_knobs` and reads their counters at `GET /_seen`. They
need only the standard library: each runs as `python -m tests.linking.steam PORT`.
"""

import json
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

lock = threading.Lock()
seen: Counter[str] = Counter()
knobs: dict[str, Any] = {}


class Stub(BaseHTTPRequestHandler):
    """Calls `answer_GET_<path>` or `answer_POST_<path>`, with `_` for each slash."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer("GET", "")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self._answer("POST", self.rfile.read(length).decode())

    def _answer(self, method: str, body: str) -> None:
        parts = urlsplit(self.path)
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.body = body
        if parts.path == "/_seen":
            return self.say(json.dumps(dict(seen)), "application/json")
        if parts.path == "/_knobs":
            knobs.update(json.loads(body))
            if knobs.pop("reset", False):
                knobs.clear()
                seen.clear()
            return self.say("{}", "application/json")
        name = parts.path.strip("/").replace("/", "_").lower()
        seen[f"{method} {parts.path}"] += 1
        if knobs.get("down"):
            return self.say("down", status=503)
        found = getattr(self, f"answer_{method}_{name}", None)
        if found is None:
            return self.say("nothing here", status=404)
        found()
        return None

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body, keep_blank_values=True))

    def say(self, text: str, kind: str = "text/plain", status: int = 200) -> None:
        sent = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind};charset=utf-8")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def tell(self, said: dict[str, Any], status: int = 200) -> None:
        self.say(json.dumps(said), "application/json", status)

    def send_to(self, where: str) -> None:
        self.send_response(302)
        self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


def serve(stub: type[Stub]) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), stub)
    server.serve_forever()
