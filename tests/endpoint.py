"""A webhook endpoint in its own process, which logs its requests.

`python -m tests.endpoint PORT LOG` answers by the request's path: `/200`, `/503`,
`/hang` (never), `/slow` (after a second), `/flaky` (503, then 200). It appends one JSON
line to LOG per request, before the answer.
"""

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests import processes


class Endpoint(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    log: Path
    lock = threading.Lock()
    heard: Counter[str] = Counter()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        line = {
            "path": self.path,
            "at": time.time(),
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": body.decode(),
        }
        with self.lock:
            self.heard[self.headers["webhook-id"]] += 1
            with self.log.open("a") as log:
                log.write(json.dumps(line) + "\n")
        word = self.path.strip("/").split("/")[0].split("?")[0]
        if word == "hang":
            time.sleep(60)
        if word == "slow":
            time.sleep(1)
        again = self.heard[self.headers["webhook-id"]] > 1
        status = int(word) if word.isdigit() else 503 if word == "flaky" else 200
        self.send_response(200 if word == "flaky" and again else status)
        if status in (301, 302, 307, 308):
            self.send_header("Location", "http://169.254.169.254/latest/meta-data/")
        if status == 429:
            self.send_header("Retry-After", "2")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512


class Heard:
    """The endpoint's URL and its logged requests."""

    def __init__(self, port: int, log: Path) -> None:
        self.url, self.log = f"http://127.0.0.1:{port}", log

    def lines(self, path: str = "") -> list[dict[str, Any]]:
        text = self.log.read_text() if self.log.exists() else ""
        lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        return [line for line in lines if line["path"].startswith(path)]


@contextmanager
def listening(folder: Path) -> Iterator[Heard]:
    """Start the program and wait until it answers."""
    port = processes.free_port()
    heard = Heard(port, folder / f"heard-{port}")
    command = ("tests.endpoint", str(port), str(heard.log))
    with processes.running(*command, log=folder / "endpoint.log"):
        processes.until(lambda: processes.answers(port))
        yield heard


if __name__ == "__main__":
    Endpoint.log = Path(sys.argv[2])
    Server(("127.0.0.1", int(sys.argv[1])), Endpoint).serve_forever()
