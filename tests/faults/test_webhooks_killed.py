"""kill -9 of the webhook worker, its broker or beat loses no delivery.

Real workers and a real endpoint. No beat runs here, because deliveries must not need
it. A receiver may get an event twice only if a worker died during its delivery.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from django.conf import settings

from accounts.models import User
from jobs.models import Attempt, Delivery
from jobs.webhooks import endpoints, redelivery
from tests import endpoint
from tests.endpoint import Heard
from tests.faults.engines import own_engines
from tests.processes import kill, running, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("processes"),
    pytest.mark.django_db(transaction=True),
]

ASKED = ("worker", "-Q", "webhooks", "-P", "threads", "-c", "8", "-n", "webhooks@%h")
WORKER = ("celery", "-A", "focus.celery", *ASKED)
DYING = ("celery", "-A", "tests.faults.dying_worker", *ASKED)
SENT = Delivery.objects.filter(state=Delivery.State.SUCCEEDED)


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[Heard]:
    with endpoint.listening(tmp_path) as listening:
        yield listening


@pytest.fixture(autouse=True)
def _no_old_word() -> None:
    store = redis.Redis.from_url(settings.REDIS_URL)
    store.delete("webhooks", "unacked", "unacked_index", "unacked_mutex")
    store.close()


def send_test_events(user: User, url: str, times: int) -> None:
    to = endpoints.register(user=user, url=url, events=["test"]).endpoint
    for _ in range(times):
        redelivery.test(user=user, endpoint_id=to.pk)


def repeats(heard: Heard) -> int:
    """How many more requests than events there were; each event was heard."""
    times = Counter(line["headers"]["webhook-id"] for line in heard.lines())
    assert len(times) == Delivery.objects.count(), "an event was never heard"
    return sum(times.values()) - len(times)


STEPS = [
    "claimed, not committed",
    "claimed",
    "about to send",
    "answered",
    "recorded, not committed",
    "recorded",
]


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_each_step_of_an_attempt(
    alice: User, heard: Heard, tmp_path: Path, step: str
) -> None:
    for n in range(3):
        send_test_events(alice, f"{heard.url}/200/{n}", 4)
    mark = tmp_path / "died"
    dying = {"DIE_AT": step, "DIE_MARK": str(mark)}
    with running(*DYING, log=tmp_path / "first", **dying) as first:
        until(mark.exists, seconds=60)
        until(lambda: first.poll() is not None)
    with running(*WORKER, log=tmp_path / "second"):
        until(lambda: SENT.count() == 12, seconds=60)
    interrupted = Attempt.objects.filter(state="interrupted").count()
    # Only what it died over can have been heard twice.
    assert repeats(heard) <= interrupted
    if step in ("claimed", "about to send", "answered", "recorded, not committed"):
        assert interrupted > 0
    assert not Attempt.objects.filter(state="running").exists()


def test_killed_again_and_again_under_load(
    alice: User, bob: User, heard: Heard, tmp_path: Path
) -> None:
    for n in range(5):
        send_test_events(alice, f"{heard.url}/flaky/{n}", 20)
    send_test_events(bob, f"{heard.url}/slow", 8)
    for n in range(4):
        with running(*WORKER, log=tmp_path / f"worker-{n}") as worker:
            time.sleep(3 + n)
            kill(worker)
    with running(*WORKER, log=tmp_path / "last"):
        until(lambda: SENT.count() == 108, seconds=120)
    flaky = Counter(x["headers"]["webhook-id"] for x in heard.lines("/flaky"))
    assert len(flaky) == 100
    assert min(flaky.values()) >= 2
    assert len({x["headers"]["webhook-id"] for x in heard.lines("/slow")}) == 8


def test_two_workers_send_each_delivery_once(
    alice: User, heard: Heard, tmp_path: Path
) -> None:
    for n in range(10):
        send_test_events(alice, f"{heard.url}/200/{n}", 20)
    with (
        running(*WORKER, "-n", "webhooks-1@%h", log=tmp_path / "first"),
        running(*WORKER, "-n", "webhooks-2@%h", log=tmp_path / "second"),
    ):
        until(lambda: SENT.count() == 200, seconds=60)
    assert repeats(heard) == 0
    assert Attempt.objects.count() == 200


def test_valkey_flushed_stopped_and_never_there(
    alice: User, heard: Heard, tmp_path: Path
) -> None:
    """Without a broker the worker polls by itself."""
    with own_engines() as (_, valkey):
        with running(*WORKER, log=tmp_path / "worker", REDIS_URL=valkey.url):
            send_test_events(alice, f"{heard.url}/flaky/a", 5)
            until(lambda: heard.lines("/flaky/a"), seconds=60)
            store = redis.Redis.from_url(valkey.url)
            store.flushall()
            store.close()
            until(lambda: SENT.count() == 5, seconds=60)
            valkey.down()
            send_test_events(alice, f"{heard.url}/flaky/b", 5)
            until(lambda: SENT.count() == 10, seconds=60)
        # One that is started while there is no broker works all the same.
        with running(*WORKER, log=tmp_path / "later", REDIS_URL=valkey.url):
            send_test_events(alice, f"{heard.url}/flaky/c", 5)
            until(lambda: SENT.count() == 15, seconds=60)
    assert repeats(heard) == 15


def test_a_worker_that_gets_sigterm_finishes_its_deliveries(
    alice: User, heard: Heard, tmp_path: Path
) -> None:
    send_test_events(alice, f"{heard.url}/slow", 3)
    with running(*WORKER, log=tmp_path / "worker") as worker:
        until(lambda: heard.lines("/slow"), seconds=60)
        os.kill(worker.pid, 15)
        worker.wait(60)
    assert SENT.count() >= 1
    assert not Attempt.objects.exclude(state="done").exists()
