"""A running web server survives the loss and the return of PostgreSQL and Valkey.

Real processes: the module's own PostgreSQL and Valkey, and one web server. The server
is never restarted, because the tests prove that it recovers by itself.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
import requests

from tests import processes
from tests.faults.engines import Own, own_engines

pytestmark = pytest.mark.slow

SEED = """
from accounts.credentials import scopes, tokens
from accounts.models import App, User
alice = User.objects.create_user("alice@example.com", "alice's password")
App.objects.create(slug="video", name="Video", starter_credits_micro=20_000_000)
print(tokens.issue(user=alice, name="test", scopes=scopes.DEFAULT).secret)
"""


@dataclass
class RunningServer:
    postgres: Own
    redis: Own
    url: str
    token: str
    env: dict[str, str]

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """As alice, on a connection of its own, and never waiting for long."""
        headers = {
            "Authorization": f"Bearer {self.token}",
            **options.pop("headers", {}),
        }
        return requests.request(
            method,
            self.url + path,
            headers=headers,
            timeout=30,
            allow_redirects=False,
            **options,
        )

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.call("GET", path, **options)

    def answers(self) -> bool:
        try:
            return self.get("/api/wallet").status_code == 200
        except requests.ConnectionError:
            return False


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    port = processes.free_port()
    with own_engines() as (postgres, redis):
        env = os.environ | {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": redis.url,
            "FOCUS_TESTING": "1",
            "RATE_LIMIT_SCALE": "1000000",
            "PORT": str(port),
        }
        _manage(env, "migrate", "-v0")
        token = _manage(env, "shell", "-v0", "-c", SEED).split()[-1]
        log = tmp_path_factory.mktemp("web") / "log"
        with processes.running("focus.server", log=log, **env):
            running = RunningServer(
                postgres, redis, f"http://127.0.0.1:{port}", token, env
            )
            processes.until(running.answers, seconds=60)
            yield running


def _manage(env: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=processes.ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


BUSY = "The service cannot answer right now. Please retry in a moment."
LOGIN = {"email": "alice@example.com", "password": "alice's password"}
NEW_JOB = {"app": "video", "action": "render", "cost_estimate": 5}


def _refusals(running: RunningServer) -> None:
    """Each door that needs the database says 503 in its own words, and soon."""
    started = time.monotonic()
    for answer in (
        running.get("/api/wallet"),
        running.get("/api/jobs"),
        running.call("POST", "/api/jobs", json=NEW_JOB),
    ):
        assert answer.status_code == 503
        assert answer.json() == {"error": "service_unavailable", "message": BUSY}
        assert answer.headers["Retry-After"] == "1"
    login = running.call("POST", "/api/auth/login", json=LOGIN)
    assert login.status_code == 503
    assert login.json() == {
        "success": False,
        "error": {"code": "SERVICE_UNAVAILABLE", "message": BUSY, "data": {}},
    }
    cookie = {"Cookie": "focus_session=" + "a" * 32}
    page = running.get("/admin/", headers=cookie)
    assert page.status_code == 503
    assert "We will be right back" in page.text
    assert page.headers["Retry-After"] == "1"
    for health in ("/health", "/api/health/"):
        assert running.get(health).status_code == 503
    assert running.get("/api/health/").json()["checks"]["database"] == "error"
    # Paths that need no database keep working.
    assert running.get("/api/openapi.json").status_code == 200
    assert running.get("/api/docs").status_code == 200
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGKILL], ids=["stop", "kill"]
)
def test_postgresql_goes_and_comes_back(running: RunningServer, number: int) -> None:
    running.postgres.down(number)
    try:
        _refusals(running)
    finally:
        running.postgres.up()
    # At once, not after a try: the dead connections are noticed before they are used.
    statuses = [running.get("/api/wallet?app=video").status_code for _ in range(8)]
    assert statuses == [200] * 8
    login = running.call("POST", "/api/auth/login", json=LOGIN)
    assert login.status_code == 200
    job = running.call("POST", "/api/jobs", json=NEW_JOB).json()
    done = running.call("POST", "/api/jobs/complete", json={"job_id": job["job_id"]})
    assert done.status_code == 200


def test_a_connection_that_postgresql_ended_is_not_used_again(
    running: RunningServer,
) -> None:
    for _ in range(3):
        # Every thread of the web server has one; some have several requests to go.
        assert [running.get("/api/wallet").status_code for _ in range(6)] == [200] * 6
        with psycopg.connect(running.postgres.url, autocommit=True) as admin:
            ended = admin.execute(
                "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchone()
            assert ended is not None
            assert ended[0] > 0
        assert [running.get("/api/wallet").status_code for _ in range(6)] == [200] * 6


def _say(running: RunningServer, *statements: str) -> None:
    """As an administrator: the role's setting does not bind this connection."""
    writes = "-c default_transaction_read_only=off"
    with psycopg.connect(running.postgres.url, autocommit=True, options=writes) as link:
        for statement in statements:
            link.execute(statement.encode())


READ_ONLY = "ALTER ROLE focus SET default_transaction_read_only = on"
WRITABLE = "ALTER ROLE focus RESET default_transaction_read_only"
CUT = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
    " WHERE usename = 'focus' AND pid <> pg_backend_pid()"
)
# A write of each guide, and the shape of its 503.
WRITES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "/api/jobs",
        {"app": "video", "action": "render", "cost_estimate": 0.5},
        {"error": "service_unavailable", "message": BUSY},
    ),
    (
        "/api/auth/register",
        {"email": "new@example.com", "password": "a long password of theirs"},
        {
            "success": False,
            "error": {"code": "SERVICE_UNAVAILABLE", "message": BUSY, "data": {}},
        },
    ),
    (
        "/v1/auth/register",
        {"email": "new@example.com", "password": "a long password of theirs"},
        {"statusCode": 503, "message": BUSY, "error": "Service Unavailable"},
    ),
]


def test_a_database_that_only_reads_for_a_moment_is_503(running: RunningServer) -> None:
    """A fail-over: connections are cut, and new ones meet a server that only reads."""
    _say(running, READ_ONLY, CUT)
    try:
        for _ in range(3):
            for path, body, refusal in WRITES:
                answer = running.call("POST", path, json=body)
                assert (answer.status_code, answer.json()) == (503, refusal)
                assert answer.headers["Retry-After"] == "1"
        page = running.get("/signin")
        assert page.status_code == 200
        health = running.get("/api/health/")
        assert health.status_code == 503
        assert health.json()["checks"]["database"] == "read_only"
        assert running.get("/health").json()["database"] == "disconnected"
    finally:
        _say(running, WRITABLE)
    # Every thread has replaced its connection by itself.
    statuses = [
        running.call(
            "POST", "/api/jobs", json=NEW_JOB | {"cost_estimate": 0}
        ).status_code
        for _ in range(12)
    ]
    assert statuses == [201] * 12


def test_a_connection_to_a_server_that_was_demoted_is_replaced(
    running: RunningServer,
) -> None:
    """It is not cut, and it only read while the server could not write."""
    _say(running, READ_ONLY, CUT)
    try:
        assert [running.get("/api/wallet").status_code for _ in range(8)] == [200] * 8
    finally:
        _say(running, WRITABLE)
    statuses = [
        running.call(
            "POST", "/api/jobs", json=NEW_JOB | {"cost_estimate": 0}
        ).status_code
        for _ in range(12)
    ]
    assert statuses == [201] * 12


def test_without_redis_credits_still_move(running: RunningServer) -> None:
    running.redis.down()
    try:
        wallet = running.get("/api/wallet?app=video")
        assert wallet.status_code == 200
        before = wallet.json()["account"]["credits"]
        job = running.call("POST", "/api/jobs", json=NEW_JOB)
        assert job.status_code == 201
        sent = {"job_id": job.json()["job_id"], "actual_cost": 3}
        done = running.call("POST", "/api/jobs/complete", json=sent)
        assert done.status_code == 200
        assert done.json()["credits_remaining"] == before - 3
        login = running.call("POST", "/api/auth/login", json=LOGIN)
        assert login.status_code == 200
        # A passkey ceremony stores its challenge in Valkey.
        passkey = running.call("POST", "/api/auth/passkey/login/begin/")
        assert passkey.status_code == 503
        assert passkey.json()["error"]["code"] == "SERVICE_UNAVAILABLE"
        assert passkey.headers["Retry-After"] == "1"
        words = running.get("/api/health/").json()["checks"]
        assert (words["database"], words["cache"]) == ("ok", "error")
    finally:
        running.redis.up()
    processes.until(
        lambda: running.get("/api/health/").json()["checks"]["cache"] == "ok", seconds=5
    )


def test_a_valkey_that_is_a_replica_for_a_moment(running: RunningServer) -> None:
    """Its writes are refused; web goes on, and health says so."""
    with redis.Redis.from_url(running.redis.url) as store:
        store.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            job = running.call("POST", "/api/jobs", json=NEW_JOB | {"cost_estimate": 0})
            assert job.status_code == 201
            login = running.call("POST", "/api/auth/login", json=LOGIN)
            assert login.status_code == 200
            passkey = running.call("POST", "/api/auth/passkey/login/begin/")
            assert passkey.status_code == 503
            # Health may answer from the round of checks before, half a second long.
            processes.until(lambda: cache_is(running, "error"), seconds=60)
        finally:
            store.execute_command("REPLICAOF", "NO", "ONE")
    processes.until(lambda: cache_is(running, "ok"), seconds=60)


def cache_is(running: RunningServer, word: str) -> bool:
    checks: dict[str, str] = running.get("/api/health/").json()["checks"]
    return checks["cache"] == word


WORKERS = {
    "worker": ["worker", "-Q", "celery", "--concurrency", "1"],
    "webhook-worker": [
        *("worker", "-Q", "webhooks", "-n", "webhooks@%h"),
        *("-P", "threads", "--concurrency", "4"),
    ],
    "beat": ["beat"],
}


def test_workers_wait_for_a_valkey_that_is_a_replica(
    running: RunningServer, tmp_path: Path
) -> None:
    """Those that run, and one that is started meanwhile, go on when it writes again."""
    env = running.env
    alive = {
        "worker": "focus:alive:worker",
        "webhook-worker": "focus:alive:webhooks",
        "beat": "focus:alive:beat",
    }
    celery = ("celery", "-A", "focus.celery")
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(redis.Redis.from_url(running.redis.url))
        workers = [
            stack.enter_context(
                processes.running(*celery, *argv, log=tmp_path / name, **env)
            )
            for name, argv in WORKERS.items()
        ]
        processes.until(lambda: store.exists(*alive.values()) == 3, seconds=90)
        store.execute_command("REPLICAOF", "127.0.0.1", "1")
        late = [*WORKERS["webhook-worker"]]
        late[late.index("webhooks@%h")] = "late@%h"
        log = tmp_path / "late"
        workers.append(
            stack.enter_context(processes.running(*celery, *late, log=log, **env))
        )
        # Long enough for each of them to have met the refusal several times.
        processes.until(lambda: "read only replica" in log.read_text(), seconds=60)
        time.sleep(12)
        assert [process.poll() for process in workers] == [None] * 4
        store.execute_command("REPLICAOF", "NO", "ONE")
        store.delete(*alive.values())
        processes.until(lambda: store.exists(*alive.values()) == 3, seconds=60)
        assert [process.poll() for process in workers] == [None] * 4


def test_a_client_that_hangs_up_in_the_middle_costs_nothing(
    running: RunningServer,
) -> None:
    host, port = running.url.removeprefix("http://").split(":")
    for _ in range(8):
        with socket.create_connection((host, int(port))) as link:
            link.sendall(
                b"POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
            )
    assert running.get("/api/wallet").status_code == 200
