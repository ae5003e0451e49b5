"""A real worker and a real beat: heartbeats, and recovery after kill -9."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings
from django.test import Client

from focus import health
from focus.celery import BEAT_ALIVE, SLOW_ALIVE, WEBHOOKS_ALIVE, WORKER_ALIVE, app
from tests import processes
from tests.doors.slow_tasks import DONE, TRIES, slow
from tests.processes import running, until

WORKER = ("celery", "-A", "tests.doors.slow_tasks", "worker", "-c", "1", "-l", "INFO")
BEAT = ("celery", "-A", "focus.celery", "beat", "-l", "INFO")
WEBHOOKS = (*BEAT[:3], "worker", "-Q", "webhooks", "-n", "webhooks@%h", "-P", "threads")
SLOW = (
    *BEAT[:3],
    "worker",
    "-l",
    "INFO",
    "-Q",
    "slow",
    "-n",
    "slow@%h",
    "-P",
    "threads",
)


@pytest.fixture
def valkey() -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(settings.REDIS_URL)
    queues = ("celery", "slow", "webhooks", "unacked", "unacked_index", "unacked_mutex")
    signs = (WORKER_ALIVE, BEAT_ALIVE, SLOW_ALIVE, WEBHOOKS_ALIVE)
    left = (*queues, *signs, TRIES, DONE)
    client.delete(*left)
    yield client
    client.delete(*left)
    client.close()


@pytest.mark.django_db(transaction=True)
def test_worker_and_beat_write_heartbeats_and_health_reports_them(
    valkey: redis.Redis, tmp_path: Path, client: Client
) -> None:
    with (
        running(*WORKER, log=tmp_path / "worker") as worker,
        running(*BEAT, log=tmp_path / "beat"),
        running(*WEBHOOKS, log=tmp_path / "webhooks"),
        running(*SLOW, log=tmp_path / "slow"),
    ):
        signs = (WORKER_ALIVE, BEAT_ALIVE, SLOW_ALIVE, WEBHOOKS_ALIVE)
        until(lambda: valkey.exists(*signs) == 4)
        until(lambda: client.get("/health").status_code == 200)
        assert client.get("/health").json() == {
            "status": "healthy",
            "database": "connected",
            "redis": "connected",
            "storage": "accessible",
            "celery": "connected",
            "checks": dict.fromkeys(
                ("database", "redis", "storage", "celery", "beat", "slow", "webhooks"),
                health.OK,
            ),
            "failed_tasks": [],
            "media": "silent",
        }
        assert client.get("/api/health/").json() == {
            "status": "healthy",
            "checks": dict.fromkeys(
                ("database", "cache", "storage", "celery", "beat", "slow", "webhooks"),
                health.OK,
            ),
            "failed_tasks": [],
            "media": "silent",
        }
        # What beat asked for, the worker has done: jobs.expire_due, every 2 s.
        until(lambda: b"jobs.expire_due" in (tmp_path / "worker").read_bytes())
        until(lambda: b"succeeded" in (tmp_path / "worker").read_bytes())
        # And what asks others, the other worker.
        events = b"Task payments.handle_events["
        until(lambda: events in (tmp_path / "slow").read_bytes())
        assert events not in (tmp_path / "worker").read_bytes()
        assert 0 < valkey.ttl(WORKER_ALIVE) <= 15
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0


def test_the_next_worker_runs_the_task_of_a_killed_worker(
    valkey: redis.Redis, tmp_path: Path
) -> None:
    with running(*WORKER, log=tmp_path / "first") as first:
        slow.apply_async(kwargs={"field_of_a_newer_release": 1})
        until(lambda: valkey.get(TRIES) == b"1")
        processes.kill(first)
    assert not valkey.exists(DONE)
    with running(*WORKER, log=tmp_path / "second"):
        until(lambda: valkey.exists(DONE))
    assert valkey.get(TRIES) == b"2"


def test_every_task_accepts_arguments_of_a_newer_release() -> None:
    app.loader.import_default_modules()
    ours = [task for name, task in app.tasks.items() if not name.startswith("celery.")]
    assert len(ours) >= 3
    for task in ours:
        assert task.run.__code__.co_flags & 0x08, f"{task.name} takes no **kwargs"


def test_beat_schedules_only_existing_tasks_with_an_expiry() -> None:
    app.loader.import_default_modules()
    schedule: dict[str, Any] = settings.CELERY_BEAT_SCHEDULE
    for entry in schedule.values():
        assert entry["task"] in app.tasks
        assert entry["options"]["expires"]
