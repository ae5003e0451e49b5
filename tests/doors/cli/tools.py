"""Runs the command. `Scripted` gives responses that a good server never gives."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "focus_pat_0123456789abcdefghijABCDEFGHIJ012345678"
START = {
    "device_code": "device-code",
    "user_code": "BCDF-GHJK",
    "verification_uri": "http://localhost/device",
    "verification_uri_complete": "http://localhost/device?user_code=BCDF-GHJK",
    "expires_in": 900,
    "interval": 1,
}
GRANT = {"token": TOKEN, "expires_at": "2030-01-02T03:04:05Z"}
JOB = {"job_id": "j1", "status": "started", "reserved": 5, "credits_remaining": 15}


class Ended(subprocess.CompletedProcess[str]):
    """A finished run."""

    def json(self) -> Any:
        return json.loads(self.stdout)


class Cli:
    """Runs the command with a home and a configuration of its own."""

    def __init__(self, home: Path) -> None:
        self.directory = home / "config"
        keep = {"PATH", "SYSTEMROOT", "COVERAGE_PROCESS_START"}
        self.env = {name: os.environ[name] for name in keep & os.environ.keys()} | {
            "HOME": str(home),
            "FOCUS_CONFIG_DIR": str(self.directory),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "error",
            "LANG": "C",
        }

    def record_of(self, server: str) -> Path:
        name = server.replace(":", "%3A").replace("/", "%2F")
        return self.directory / f"{name}.json"

    def start(
        self,
        *arguments: str,
        server: str | None = None,
        token: str | None = None,
        env: dict[str, str] | None = None,
        **how: Any,
    ) -> subprocess.Popen[str]:
        more = {"FOCUS_TOKEN": token} if token is not None else {}
        command = [sys.executable, "-m", "focus.cli", *arguments]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how
        return subprocess.Popen(
            command + (["--server", server] if server else []),
            cwd=self.directory.parent,
            env=self.env | more | (env or {}),
            stdin=subprocess.DEVNULL,
            text=True,
            **streams,
        )

    def run(self, *arguments: str, **how: Any) -> Ended:
        with self.start(*arguments, **how) as process:
            out, err = process.communicate(timeout=60)
        self.last = Ended(process.args, process.returncode, out, err)
        return self.last

    def in_terminal(self, *arguments: str, answers: Scripted, **how: Any) -> str:
        """Run with a terminal as stdout and stderr. Returns everything it showed."""
        if arguments[0] == "login":
            answers.answers = [(200, START), (200, GRANT)]
        ours, theirs = pty.openpty()
        env = {"TERM": "xterm", "COLUMNS": "120"}
        how |= {"stdout": theirs, "stderr": theirs, "env": env}
        with self.start(*arguments, server=answers.url, **how) as process:
            os.close(theirs)
            shown = read_all(ours)
        assert process.returncode == 0, shown
        return shown

    def log_in(self, server: Scripted, *options: str) -> None:
        server.answers = [(200, START), (200, GRANT)]
        done = self.run("login", *options, server=server.url)
        assert done.returncode == 0, done.stderr

    def sign_in(self, server: str) -> None:
        """Set FOCUS_TOKEN to a real token with the app's 20 starter credits."""
        access = register(server)
        device = requests.post(
            f"{server}/api/device/start", json={"client_name": "test"}, timeout=30
        ).json()
        decide(server, access, device["user_code"], approve=True)
        query = {"device_code": device["device_code"]}
        poll = requests.get(f"{server}/api/device/poll", params=query, timeout=30)
        bearer = {"Authorization": f"Bearer {poll.json()['token']}"}
        wallet = f"{server}/api/wallet?app=video"
        requests.get(wallet, headers=bearer, timeout=30).raise_for_status()
        self.env |= {"FOCUS_TOKEN": poll.json()["token"], "FOCUS_SERVER": server}

    def use_keyring(self, place: Path, *, fault: str = "") -> None:
        """Use a test keyring. `fault` is code that runs instead of storing."""
        source = RING.format(place=str(place), fault=fault or "pass")
        (place / "testring.py").write_text(source)
        self.env["PYTHON_KEYRING_BACKEND"] = "testring.Ring"
        self.env["PYTHONPATH"] += os.pathsep + str(place)


RING = """
import json, pathlib
from keyring.backend import KeyringBackend

class Ring(KeyringBackend):
    name, priority, file = "Test Ring", 5, pathlib.Path({place!r}, "ring.json")
    def all(self):
        return json.loads(self.file.read_text()) if self.file.exists() else {{}}
    def get_password(self, service, name): return self.all().get(service + name)
    def set_password(self, service, name, value):
        {fault}
        self.file.write_text(json.dumps(self.all() | {{service + name: value}}))
    def delete_password(self, service, name):
        self.file.write_text(json.dumps(self.all() | {{service + name: None}}))
"""


class Seen:
    """A received request."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self.at = time.monotonic()
        self.method, self.path = handler.command, handler.path
        self.headers = handler.headers
        length = int(handler.headers.get("Content-Length") or 0)
        self.body = handler.rfile.read(length).decode()


class Scripted(ThreadingHTTPServer):
    """A server that gives `answers` in order, and then repeats the last one."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://localhost:{self.server_port}"
        self.answers: list[Any] = [(500, {})]
        self.seen: list[Seen] = []
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self.thread.start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self.thread.join()


class Handler(BaseHTTPRequestHandler):
    """Gives the next answer to a request of any method."""

    server: Scripted

    def answer(self) -> None:
        self.server.seen.append(Seen(self))
        left = self.server.answers
        answer = left.pop(0) if len(left) > 1 else left[0]
        if answer == "hang up":
            self.close_connection = True
            return
        status, content, headers = (*answer, {})[:3]
        text = content if isinstance(content, str) else json.dumps(content)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(text)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = do_DELETE = answer  # noqa: N815 - http.server calls these

    def log_message(self, *args: object) -> None:
        """Print nothing."""


def register(server: str) -> str:
    person = {"email": f"{uuid.uuid4().hex}@example.com", "password": "Test123!"}
    answer = requests.post(f"{server}/api/auth/register", json=person, timeout=30)
    answer.raise_for_status()
    return str(answer.json()["access_token"])


def decide(server: str, access: str, user_code: str, *, approve: bool) -> None:
    requests.post(
        f"{server}/api/device/complete",
        json={"user_code": user_code, "approve": approve},
        headers={"Authorization": f"Bearer {access}"},
        timeout=30,
    ).raise_for_status()


def read_code(process: subprocess.Popen[str]) -> str:
    assert process.stderr
    for line in process.stderr:
        if found := re.search(r"\b[A-Z]{4}-[A-Z]{4}\b", line):
            return found.group()
    raise AssertionError("no code was shown")


def read_all(terminal: int) -> str:
    shown = b""
    with contextlib.suppress(OSError):  # Linux raises it when the other end closes
        while chunk := os.read(terminal, 4096):
            shown += chunk
    os.close(terminal)
    return shown.decode()


def one_line(text: str) -> str:
    lines = text.splitlines()
    assert len(lines) == 1, text
    return lines[0]
