"""kill -9 under load loses and doubles no acknowledged movement.

Clients reserve and settle without pause while the web server, and then PostgreSQL, are
killed. A lost answer may stand for either outcome. A received answer must be true.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from tests import processes
from tests.faults.engines import Own, own_engines
from tests.faults.test_engines_gone import _manage

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("processes")]

SEED = """
from accounts.credentials import scopes, tokens
from accounts.models import App, User
from wallet import ledger
App.objects.create(slug="video", name="Video")
for name in ("alice", "bob"):
    user = User.objects.create_user(f"{name}@example.com", "a password of theirs")
    ledger.grant(account_id=user.pk, amount_micro=10**12, source="promo",
                 actor="test", key=name)
    print(tokens.issue(user=user, name="test", scopes=scopes.DEFAULT).secret)
"""


class Server:
    """The web server, which can be killed with all of its children and come back."""

    def __init__(self, env: dict[str, str], port: int, log: Path) -> None:
        self.env, self.port, self.log = env, port, log
        self.url = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "focus.server"],
                cwd=processes.ROOT,
                env=self.env | {"PORT": str(self.port)},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        processes.until(self.answers, seconds=60)

    def answers(self) -> bool:
        try:
            return requests.get(self.url + "/v1/nothing", timeout=30).status_code == 404
        except requests.ConnectionError:
            return False

    def kill(self) -> None:
        assert self.process
        processes.kill(self.process)


class Clients:
    """Six clients over two wallets, with every answer that they received."""

    def __init__(self, url: str, tokens: list[str]) -> None:
        self.url = url
        self.stop = threading.Event()
        self.reserved: set[str] = set()
        self.settled: set[str] = set()
        self.seen: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.threads = [
            threading.Thread(target=self._work, args=(tokens[n % 2],)) for n in range(6)
        ]

    def __enter__(self) -> "Clients":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(60)

    def _work(self, token: str) -> None:
        http = requests.Session()
        http.headers["Authorization"] = f"Bearer {token}"
        while not self.stop.is_set():
            payload: dict[str, Any] = {"app": "video", "action": "render"}
            made = self._post(http, "/api/jobs", payload | {"cost_estimate": 5})
            if made is None:
                continue
            with self.lock:
                self.reserved.add(made["job_id"])
            # Retries until there is an answer: a repeated settle charges once.
            done = None
            while done is None and not self.stop.is_set():
                payload = {"job_id": made["job_id"], "actual_cost": 3}
                done = self._post(http, "/api/jobs/complete", payload)
            if done is not None:
                assert done["charged"] == 3
                with self.lock:
                    self.settled.add(made["job_id"])

    def _post(
        self, http: requests.Session, path: str, body: dict[str, Any]
    ) -> dict[str, Any] | None:
        try:
            answer = http.post(self.url + path, json=body, timeout=30)
        except requests.RequestException:
            self.seen["no answer"] += 1
            time.sleep(0.02)
            return None
        self.seen[str(answer.status_code)] += 1
        if answer.status_code == 503:
            time.sleep(0.02)
            return None
        assert answer.status_code in (200, 201), answer.text
        body = answer.json()
        return body


@pytest.fixture
def house(tmp_path: Path) -> Iterator[tuple[Own, Server, list[str]]]:
    port = processes.free_port()
    with own_engines(fast=False) as (postgres, redis):
        env = os.environ | {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": redis.url,
            "FOCUS_TESTING": "1",
            "RATE_LIMIT_SCALE": "1000000",
            "PORT": str(port),
        }
        _manage(env, "migrate", "-v0")
        tokens = _manage(env, "shell", "-v0", "-c", SEED).split()[-2:]
        server = Server(env, port, tmp_path / "log")
        server.up()
        try:
            yield postgres, server, tokens
        finally:
            server.kill()


def test_kill_9_of_web_and_database_under_load(
    house: tuple[Own, Server, list[str]],
) -> None:
    postgres, server, tokens = house
    with Clients(server.url, tokens) as clients:
        for _ in range(2):
            time.sleep(0.7)
            server.kill()
            server.up()
        time.sleep(0.7)
        postgres.down(signal.SIGKILL)
        time.sleep(0.3)
        postgres.up()
        time.sleep(0.7)
    # The load was real, and so were the crashes.
    assert len(clients.settled) > 20, clients.seen
    assert clients.seen["no answer"] > 0
    assert set(clients.seen) <= {"200", "201", "503", "no answer"}

    with psycopg.connect(postgres.url) as database:
        jobs = {
            str(job_id): (status, charged)
            for job_id, status, charged in database.execute(
                "SELECT id, status, charged_micro FROM jobs_job"
            )
        }
        charges: dict[str, int] = dict(
            database.execute(
                "SELECT job_id::text, sum(amount_micro) FROM wallet_entry"
                " WHERE kind = 'charge' GROUP BY job_id"
            ).fetchall()
        )
    assert clients.reserved <= set(jobs), "an acknowledged reservation is gone"
    for job_id in clients.settled:
        assert jobs[job_id] == ("completed", 3_000_000)
        assert charges[job_id] == 3_000_000
    unheard = len(jobs) - len(clients.reserved)
    assert 0 <= unheard <= clients.seen["no answer"] + clients.seen["503"]
    assert "invariants hold over 2 wallets" in _manage(server.env, "check_ledger")
