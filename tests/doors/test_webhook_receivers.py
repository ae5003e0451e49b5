"""The programs printed in docs/webhooks.md receive real deliveries of a worker."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
import requests
from django.conf import settings

from accounts.credentials import user_keys
from accounts.models import User
from jobs.models import Delivery
from jobs.webhooks import endpoints, redelivery, signatures
from tests.browser.conftest import serving
from tests.processes import ROOT, answers, free_port, kill, running, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("processes"),
    pytest.mark.django_db(transaction=True),
]

PAGE = (ROOT / "docs" / "webhooks.md").read_text()
ASKED = ("worker", "-Q", "webhooks", "-P", "threads", "-c", "4", "-n", "webhooks@%h")
WORKER = ("celery", "-A", "focus.celery", *ASKED)
RECEIVERS = {"receiver.py": "python3", "receiver.mjs": "node"}
every_receiver = pytest.mark.parametrize("name", RECEIVERS)


def printed(folder: Path, name: str) -> Path:
    """Write the program that begins with `name` in the page to a file."""
    [code] = re.findall(
        rf"^```\w+\n((?:#|//) {re.escape(name)}\n.*?)^```$", PAGE, re.S | re.M
    )
    file = folder / name
    file.write_text(code)
    return file


@contextmanager
def receiving(folder: Path, name: str, secret: str, port: int) -> Iterator[Path]:
    """Run the receiver until it answers; yield its output."""
    said, logged = folder / "said", folder / "logged"
    with said.open("ab") as output, logged.open("ab") as log:
        process = subprocess.Popen(
            [RECEIVERS[name], str(printed(folder, name))],
            env={**os.environ, "WEBHOOK_SECRET": secret, "PORT": str(port)},
            stdout=output,
            stderr=log,
            start_new_session=True,
        )
    try:
        until(lambda: answers(port))
        yield said
        assert "Error" not in logged.read_text()
    finally:
        kill(process)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[None]:
    store = redis.Redis.from_url(settings.REDIS_URL)
    store.delete("webhooks", "unacked", "unacked_index", "unacked_mutex")
    store.close()
    with running(*WORKER, log=tmp_path / "worker"):
        yield


@pytest.fixture
def ended(worker: None) -> Callable[[Delivery], Delivery]:
    def waits(delivery: Delivery) -> Delivery:
        def is_over() -> bool:
            delivery.refresh_from_db()
            return delivery.state != Delivery.State.PENDING

        until(is_over, seconds=60)
        return delivery

    return waits


def register(user: User, port: int) -> endpoints.Shown:
    url = f"http://127.0.0.1:{port}/webhook"
    return endpoints.register(user=user, url=url, events=["test"])


def told(user: User, shown: endpoints.Shown) -> Delivery:
    return redelivery.test(user=user, endpoint_id=shown.endpoint.pk)


@every_receiver
def test_a_receiver_accepts_each_delivery_once(
    alice: User, tmp_path: Path, name: str, ended: Callable[[Delivery], Delivery]
) -> None:
    port = free_port()
    shown = register(alice, port)
    with receiving(tmp_path, name, shown.secret, port) as said:
        first = ended(told(alice, shown))
        assert (first.state, first.last_status) == ("succeeded", 200)
        redelivery.resend(user=alice, delivery_id=first.pk)
        again = ended(first)
        assert (again.state, again.attempts) == ("succeeded", 2)
        other = ended(told(alice, shown))
        assert other.state == "succeeded"
    lines = said.read_text().splitlines()
    assert len(lines) == 2, lines
    assert all(line.startswith("test {") for line in lines)
    assert str(shown.endpoint.pk) in lines[0]


@every_receiver
def test_a_receiver_refuses_another_secret(
    alice: User, tmp_path: Path, name: str, ended: Callable[[Delivery], Delivery]
) -> None:
    port = free_port()
    shown = register(alice, port)
    with receiving(tmp_path, name, signatures.new_secret(), port) as said:
        refused = ended(told(alice, shown))
    assert (refused.state, refused.last_status, refused.attempts) == ("failed", 401, 1)
    assert said.read_text() == ""


@every_receiver
def test_a_receiver_accepts_either_secret_during_a_rotation(
    alice: User, tmp_path: Path, name: str, ended: Callable[[Delivery], Delivery]
) -> None:
    port = free_port()
    shown = register(alice, port)
    rotated = endpoints.rotate(user=alice, endpoint_id=shown.endpoint.pk)
    for secret in (shown.secret, rotated.secret):
        with receiving(tmp_path, name, secret, port):
            assert ended(told(alice, shown)).state == "succeeded"
    endpoints.promote(user=alice, endpoint_id=shown.endpoint.pk)
    with receiving(tmp_path, name, shown.secret, port):
        assert ended(told(alice, shown)).last_status == 401


@every_receiver
def test_a_receiver_refuses_forged_and_malformed_requests(
    alice: User, tmp_path: Path, name: str
) -> None:
    """The requests include replays, sent later or under another id."""
    port = free_port()
    secret = signatures.new_secret()
    body = b'{"data":{},"event":"test","timestamp":"2026-01-31T12:00:00.000Z"}'
    now = int(time.time())

    def signed(at: int) -> dict[str, str]:
        return signatures.headers(message="evt_1", at=at, body=body, secret=secret)

    good = signed(now)
    bad: list[dict[str, str]] = [
        {},
        {**good, "webhook-id": "evt_2"},
        {**good, "webhook-timestamp": str(now + 1)},
        {**good, "webhook-timestamp": "²"},
        {**good, "webhook-timestamp": "1e9"},
        {**good, "webhook-signature": ""},
        {**good, "webhook-signature": "v1,"},
        {**good, "webhook-signature": good["webhook-signature"][:-1]},
        {**good, "webhook-signature": good["webhook-signature"] + "A"},
        {**good, "webhook-signature": "v1,é" * 40},
        signed(now - 3600),
        signed(now + 3600),
    ]
    url = f"http://127.0.0.1:{port}/"
    with receiving(tmp_path, name, secret, port) as said:
        for headers in bad:
            sent = {key: value.encode() for key, value in headers.items()}
            answer = requests.post(url, data=body, headers=sent, timeout=30)
            assert answer.status_code == 401, headers
        assert (
            requests.post(url, data=body + b" ", headers=good, timeout=30).status_code
            == 401
        )
        assert said.read_text() == ""
        assert (
            requests.post(url, data=body, headers=good, timeout=30).status_code == 200
        )
    assert said.read_text() == "test {}\n"


def test_a_delivery_verifies_with_curl_and_openssl(alice: User, tmp_path: Path) -> None:
    shown = register(alice, free_port())
    made = told(alice, shown)
    script = printed(tmp_path, "verify.sh")
    key = user_keys.issue(user=alice, name="x").secret

    def verify(secret: str, **more: str) -> str:
        run = subprocess.run(
            ["sh", str(script)],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "WEBHOOK_SECRET": secret, **more},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (run.returncode == 0) == (run.stdout == "genuine\n"), run.stderr
        return run.stdout or run.stderr

    with serving(tmp_path) as web:
        fetched = {"BASE": web, "KEY": key, "DELIVERY": str(made.pk)}
        assert verify(shown.secret, **fetched) == "genuine\n"
        assert (tmp_path / "body").read_bytes() == bytes(made.event.body)
        # The commands check the saved files without a request.
        assert verify(shown.secret) == "genuine\n"
        assert verify(signatures.new_secret()) == "NOT GENUINE\n"
        rotated = endpoints.rotate(user=alice, endpoint_id=shown.endpoint.pk)
        assert verify(rotated.secret) == "NOT GENUINE\n"
        for secret in (shown.secret, rotated.secret):
            assert verify(secret, **fetched) == "genuine\n"
        assert "404" in verify(shown.secret, **{**fetched, "DELIVERY": str(alice.pk)})
    (tmp_path / "body").write_bytes(bytes(made.event.body) + b"\n")
    assert verify(shown.secret) == "NOT GENUINE\n"
