"""A stub process of Clerk's Backend API and JWKS, and of X's /2/users/me.

Run `python -m tests.clerk_stub PORT`. It answers in Clerk's documented format. Tests
set its users and failures at /stub/… through `tests.clerk`.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

SECRET_KEY = "sk_test_clerkstubclerkstubclerkstub"


class State:
    """The stub's users, tokens, keys and failures; tests reset it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.spare = [_new_key() for _ in range(3)]
        self.reset()

    def reset(self) -> None:
        # The published keys. The last one signs.
        self.published = [("ins_1", self.spare[0])]
        self.modes: dict[str, str] = {}
        self.users: dict[str, Any] = {}
        self.tokens: dict[str, Any] = {}
        self.x: dict[str, Any] = {}
        self.asked: list[dict[str, Any]] = []

    def rotate(self) -> None:
        """Replace the signing key; the set no longer has the old one."""
        kid = f"ins_{int(self.published[-1][0][4:]) + 1}"
        self.published = [(kid, self.spare[int(kid[4:]) % len(self.spare)])]


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def _error(status: int, code: str, message: str) -> tuple[int, Any]:
    told = {"message": message, "long_message": message, "code": code}
    return status, {"errors": [told], "clerk_trace_id": "0123456789abcdef"}


class Stub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: State

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path.startswith("/stub/"):
            self._control(parts.path, {})
            return
        query = {name: it[0] for name, it in parse_qs(parts.query).items()}
        noted = {"path": parts.path, "query": query, "headers": dict(self.headers)}
        with self.state.lock:
            self.state.asked.append(noted)
        steps = parts.path.strip("/").split("/")
        service = {".well-known": "jwks", "v1": "api"}.get(steps[0], "x")
        if self._misbehaves(self.state.modes.get(service, "")):
            return
        answers: dict[str, Callable[[], tuple[int, Any]]] = {
            "jwks": self._jwks,
            "api": lambda: self._api(steps[1:], query),
            "x": lambda: self._x(parts.path),
        }
        self._say(*answers[service]())

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self._control(self.path, json.loads(self.rfile.read(length) or b"{}"))

    def _misbehaves(self, mode: str) -> bool:
        if mode == "hang":
            time.sleep(20)
        elif mode == "slow":
            time.sleep(0.6)
            return False
        elif mode == "down":
            self._say(503, {"errors": []})
        elif mode == "garbage":
            self._send(200, b"<html>oops")
        elif mode == "empty":
            self._say(200, {"keys": []})
        elif mode == "huge":
            self._send(200, b'{"x":"' + b"x" * 300_000 + b'"}')
        elif mode == "moved":
            self._send(302, b"", Location="http://127.0.0.1:9/")
        return mode not in ("", "slow")

    def _jwks(self) -> tuple[int, Any]:
        keys = []
        for kid, key in self.state.published:
            public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
            public.pop("key_ops", None)
            keys.append({**public, "kid": kid, "use": "sig", "alg": "RS256"})
        return 200, {"keys": keys}

    def _api(self, steps: list[str], query: dict[str, str]) -> tuple[int, Any]:
        if self.headers.get("Authorization") != f"Bearer {SECRET_KEY}":
            return _error(401, "authentication_invalid", "Unauthenticated")
        if len(steps) < 2 or steps[0] != "users" or steps[1] not in self.state.users:
            return _error(404, "resource_not_found", "not found")
        if len(steps) == 2:
            return 200, self.state.users[steps[1]]
        if len(steps) == 4 and steps[2] == "oauth_access_tokens":
            kept = self.state.tokens.get(f"{steps[1]}/{steps[3]}", [])
            if isinstance(kept, str):
                return _error(422, kept, "The token cannot be had.")
            if query.get("paginated") == "true":
                return 200, {"data": kept, "total_count": len(kept)}
            return 200, kept
        return _error(404, "resource_not_found", "not found")

    def _x(self, path: str) -> tuple[int, Any]:
        if path != "/2/users/me":
            return 404, {"title": "Not Found"}
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        known = self.state.x.get(token)
        if known is None:
            return 401, {"title": "Unauthorized", "status": 401}
        return int(known.get("status", 200)), known["body"]

    def _control(self, path: str, said: dict[str, Any]) -> None:
        state = self.state
        answer: Any = None
        with state.lock:
            match path.removeprefix("/stub/"):
                case "reset":
                    state.reset()
                case "rotate":
                    state.rotate()
                case "set":
                    for name, value in said.items():
                        getattr(state, name).update(value)
                case "asked":
                    answer = list(state.asked)
                case "key":
                    kid, key = state.published[-1]
                    answer = {"kid": kid, "pem": pem_of(key)}
        self._say(200, answer)

    def _say(self, status: int, answer: Any) -> None:
        self._send(status, json.dumps(answer).encode())

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


def pem_of(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that closed the connection early."""


def main() -> None:
    Stub.state = State()
    _Server(("127.0.0.1", int(sys.argv[1])), Stub).serve_forever()


if __name__ == "__main__":
    main()
