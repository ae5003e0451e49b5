"""1sub on a real server: a thousand calls at once, kill -9, the guide's clients."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import types
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from django.conf import settings

from accounts.credentials import app_keys
from accounts.models import App, User
from accounts.partners import consents
from focus.money import MICRO
from jobs import tool_purchases
from jobs.invariants import ALL
from jobs.models import Usage
from tests import processes
from wallet import invariants, ledger

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("processes"),
    pytest.mark.django_db(transaction=True),
]
GUIDE = (processes.ROOT / "docs" / "guides" / "onesub.md").read_text()


class Server:
    """The web server, which can be killed with its children and come back."""

    def __init__(self, log: Path) -> None:
        self.port, self.log = processes.free_port(), log
        self.url = f"http://localhost:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "focus.server"],
                cwd=processes.ROOT,
                # Its tokens are ours: they name the same issuer.
                env=processes.environment()
                | {
                    "PUBLIC_BASE_URL": settings.PUBLIC_BASE_URL,
                    "PORT": str(self.port),
                },
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        processes.until(self.answers, seconds=60)

    def answers(self) -> bool:
        try:
            return requests.get(self.url + "/.well-known/jwks.json", timeout=30).ok
        except requests.ConnectionError:
            return False

    def kill(self) -> None:
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def server(tmp_path: Path, transactional_db: None) -> Iterator[Server]:
    made = Server(tmp_path / "log")
    try:
        made.up()
        yield made
    finally:
        made.kill()
    assert invariants.violations(among=ALL) == []


@pytest.fixture
def key(tool: App, alice: User) -> str:
    consents.grant(user=alice, app_id=tool.pk)
    return app_keys.issue(app=tool, name="test").secret


class Charger:
    """Calls consume, on one connection per thread."""

    def __init__(self, url: str, key: str, user: User) -> None:
        self.url, self.key, self.user_id = url, key, str(user.pk)
        self.own = threading.local()

    def __call__(self, name: str, amount: float = 1) -> requests.Response:
        if not hasattr(self.own, "http"):
            self.own.http = requests.Session()
            self.own.http.headers["Authorization"] = f"Bearer {self.key}"
        payload = {
            "user_id": self.user_id,
            "amount": amount,
            "reason": "Generated 1 image",
            "idempotency_key": name,
        }
        answer: requests.Response = self.own.http.post(
            f"{self.url}/api/v1/credits/consume", json=payload, timeout=60
        )
        return answer


def test_of_a_thousand_calls_exactly_fifty_charge(
    server: Server, key: str, alice: User, give: Any
) -> None:
    give(alice, 50)
    charge = Charger(server.url, key, alice)
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(charge, [f"k{n}" for n in range(1000)]))
    assert Counter(answer.status_code for answer in answers) == {200: 50, 400: 950}
    left = sorted(a.json()["new_balance"] for a in answers if a.status_code == 200)
    assert left == list(range(50))
    assert Usage.objects.count() == 50


def test_twenty_concurrent_calls_with_one_key_charge_once(
    server: Server, key: str, alice: User, give: Any
) -> None:
    give(alice, 50)
    charge = Charger(server.url, key, alice)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(charge, ["one"] * 20))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 19}
    bodies = [answer.json() for answer in answers]
    assert {(it["transaction_id"], it["new_balance"]) for it in bodies} == {
        (str(Usage.objects.get().movement_id), 49)
    }
    assert [it.get("is_duplicate") for it in bodies].count(True) == 19


def test_kill_9_in_the_middle_charges_each_key_once(
    server: Server, key: str, alice: User, give: Any
) -> None:
    """Clients repeat a key until they have an answer; each key is one charge."""
    give(alice, 1_000_000)
    charge = Charger(server.url, key, alice)
    told: dict[str, str] = {}
    stop = threading.Event()

    def work(client: int) -> None:
        for n in itertools.count():
            if stop.is_set():
                return
            name = f"{client}-{n}"
            while name not in told:
                try:
                    answer = charge(name, 0.01)
                except requests.RequestException:
                    continue
                if answer.status_code in (200, 409):
                    told[name] = answer.json()["transaction_id"]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        before = len(told)
        processes.until(lambda: len(told) > before + 40, seconds=60)  # noqa: B023
        server.kill()
        server.up()
    stop.set()
    for thread in threads:
        thread.join(60)
    booked = {one.key: str(one.movement_id) for one in Usage.objects.all()}
    assert booked == told
    balance = ledger.balance(account_id=alice.pk).available_micro
    assert balance == 1_000_000 * MICRO - len(told) * 10_000


def _sample(after: str, language: str, url: str) -> str:
    """A block of the guide as it is printed, with our host's name."""
    found = re.search(rf"### {after}.*?```{language}\n(.*?)```", GUIDE, re.DOTALL)
    assert found
    return found[1].replace("https://1sub.io", url)


@pytest.fixture
def token(alice: User, tool: App, give: Any) -> str:
    """What alice brings from her purchase; she has 10 credits left."""
    give(alice, 35)
    purchase = tool_purchases.create(user=alice, tool_id=tool.pk)
    return tool_purchases.process(user=alice, purchase_id=purchase.pk).token


def test_the_guides_flask_client(
    server: Server, key: str, token: str, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own lines over HTTP; only Flask's routing is stood in for."""
    flask: Any = types.ModuleType("flask")
    request = types.SimpleNamespace(args={})
    session: dict[str, str] = {}

    class Flask:
        def __init__(self, _name: str) -> None:
            pass

        def route(self, *_: Any, **__: Any) -> Any:
            return lambda view: view

    flask.Flask, flask.request, flask.session = Flask, request, session
    flask.jsonify = dict
    monkeypatch.setitem(sys.modules, "flask", flask)
    monkeypatch.setenv("ONESUB_API_KEY", key)
    # Two names that the guide's file uses and does not have.
    client: dict[str, Any] = {
        "__name__": "client",
        "redirect": lambda where: f"to {where}",
        "your_tool_function": lambda: "an image",
    }
    exec(_sample("Python / Flask", "python", server.url), client)
    request.args = {"token": token + "x"}
    assert client["auth_callback"]() == ("Authentication failed", 401)
    request.args = {"token": token}
    assert client["auth_callback"]() == "to /dashboard"
    assert session["user_id"] == str(alice.pk)
    paid = {"success": True, "result": "an image", "credits_remaining": 0}
    assert client["generate"]() == paid
    # Its keys are as new as the second: within the first one it repeats itself.
    processes.until(lambda: client["generate"]()[1] == 400)
    assert client["generate"]() == (
        {
            "error": "insufficient_credits",
            "message": "User does not have sufficient credits",
        },
        400,
    )


EXPRESS = """
const routes = {};
const app = { get: (p, h) => { routes[p] = h; }, post: (p, h) => { routes[p] = h; },
  listen: () => {}, routes };
module.exports = () => app;
"""
# axios: what is not 2xx is thrown, with the answer as `response`.
AXIOS = """
exports.post = async (url, data, config) => {
  const answer = await fetch(url, { method: 'POST', headers: config.headers,
    body: JSON.stringify(data) });
  const response = { status: answer.status, data: await answer.json(),
    headers: Object.fromEntries(answer.headers) };
  if (answer.ok) return response;
  throw Object.assign(new Error('Request failed ' + answer.status), { response });
};
"""
DRIVER = """
globalThis.yourToolFunction = async () => 'an image';
const call = (path, req) => new Promise((resolve) => {
  const res = { code: 200, status(code) { this.code = code; return this; },
    send(body) { resolve([this.code, body]); },
    json(body) { resolve([this.code, body]); },
    redirect(where) { resolve([302, where]); } };
  app.routes[path](req, res);
});
(async () => {
  const session = {};
  const said = [];
  for (const token of [process.env.TOKEN + 'x', process.env.TOKEN])
    said.push(await call('/auth/callback', { query: { token }, session }));
  for (let n = 0; n < 2; n++) {
    said.push(await call('/api/generate', { session }));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  console.log(JSON.stringify([session, ...said]));
})();
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node here")
def test_the_guides_express_client(
    server: Server, key: str, token: str, alice: User, tool: App, tmp_path: Path
) -> None:
    """Its own lines over HTTP; only Express's routing and axios are stood in for."""
    for name, text in (("express", EXPRESS), ("axios", AXIOS)):
        place = tmp_path / "node_modules" / name
        place.mkdir(parents=True)
        (place / "index.js").write_text(text)
    script = tmp_path / "client.js"
    script.write_text(_sample("Node.js / Express", "javascript", server.url) + DRIVER)
    ran = subprocess.run(
        ["node", str(script)],
        env=os.environ | {"ONESUB_API_KEY": key, "TOKEN": token},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    session, bad, good, paid, poor = json.loads(ran.stdout)
    assert session == {"userId": str(alice.pk), "toolId": str(tool.pk)}
    assert (bad, good) == ([401, "Authentication failed"], [302, "/dashboard"])
    image = {"success": True, "result": "an image", "credits_remaining": 0}
    assert paid == [200, image]
    assert poor == [
        400,
        {
            "error": "insufficient_credits",
            "message": "User does not have sufficient credits",
        },
    ]


def test_the_guides_curl_examples(
    server: Server, key: str, token: str, alice: User
) -> None:
    found = re.search(r"### Example Test\n\n```bash\n(.*?)```", GUIDE, re.DOTALL)
    assert found
    script = (
        found[1]
        .replace("https://1sub.io", server.url)
        .replace("YOUR_TEST_TOKEN", token)
        .replace("YOUR_API_KEY", key)
        .replace("550e8400-e29b-41d4-a716-446655440000", str(alice.pk))
        .replace("curl -X", "curl -sw '\\n' -X")
    )
    ran = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    verified, charged = map(json.loads, ran.stdout.split("\n")[:2])
    assert (verified["valid"], verified["user_id"]) == (True, str(alice.pk))
    assert (charged["success"], charged["new_balance"]) == (True, 0)
