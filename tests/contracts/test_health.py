"""/health and /api/health/: real checks with time limits, without internal details."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import redis
from django.conf import LazySettings, settings
from django.db import connection
from django.test import Client

from focus import health
from focus.celery import (
    BEAT_ALIVE,
    MEDIA_STATE,
    SLOW_ALIVE,
    WEBHOOKS_ALIVE,
    WORKER_ALIVE,
    heartbeat_redis,
)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clear the cached checks of other tests."""
    monkeypatch.setattr(health, "checks", health.Checks(health.PROBES))
    heartbeat_redis.cache_clear()
    yield
    heartbeat_redis.cache_clear()


@pytest.fixture(autouse=True)
def storage(settings: LazySettings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


@pytest.fixture
def living(db: None) -> Iterator[redis.Redis]:
    """Record heartbeats of the workers and of beat."""
    client = redis.Redis.from_url(settings.REDIS_URL)
    signs = (WORKER_ALIVE, BEAT_ALIVE, SLOW_ALIVE, WEBHOOKS_ALIVE)
    client.delete(MEDIA_STATE)
    client.mset(dict.fromkeys(signs, "1"))
    yield client
    client.delete(*signs, MEDIA_STATE)
    client.close()


@pytest.fixture
def hung() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


ALL_OK = dict.fromkeys(
    ("database", "redis", "storage", "celery", "beat", "slow", "webhooks"), "ok"
)


def _words(**broken: str) -> dict[str, Any]:
    return {**ALL_OK, **broken}


def test_cosmiv_gets_one_status_word_per_engine(
    living: redis.Redis, client: Client
) -> None:
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "healthy",
        "database": "connected",
        "redis": "connected",
        "storage": "accessible",
        "celery": "connected",
        "checks": ALL_OK,
        "failed_tasks": [],
        "media": "silent",
    }
    assert answer["Cache-Control"] == "no-store"


def test_reviv_gets_its_checks(living: redis.Redis, client: Client) -> None:
    answer = client.get("/api/health/")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "healthy",
        "checks": {
            "database": "ok",
            "cache": "ok",
            "celery": "ok",
            "storage": "ok",
            "beat": "ok",
            "slow": "ok",
            "webhooks": "ok",
        },
        "failed_tasks": [],
        "media": "silent",
    }


@pytest.mark.parametrize(
    "where", ["/health", "/health/", "/api/health", "/api/health/"]
)
def test_health_needs_no_credential_and_no_known_host(
    living: redis.Redis, client: Client, where: str
) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer nonsense"},
        {"X-Api-Key": "nonsense"},
        {"Host": "web-7f9c:8000"},
        {"Host": "10.0.0.7"},
    ):
        assert client.get(where, headers=headers).status_code == 200
        assert client.head(where, headers=headers).status_code == 200


def test_a_missing_worker_differs_from_a_missing_beat(
    living: redis.Redis, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    living.delete(WORKER_ALIVE)
    answer = client.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
    assert answer.json()["celery"] == "disconnected"
    assert answer.json()["checks"] == _words(celery="silent")
    living.set(WORKER_ALIVE, "1")
    living.delete(BEAT_ALIVE)
    monkeypatch.setattr(health, "checks", health.Checks(health.PROBES))
    answer = client.get("/api/health/")
    assert (answer.status_code, answer.json()["status"]) == (503, "degraded")
    assert answer.json()["checks"]["beat"] == "silent"
    assert answer.json()["checks"]["celery"] == "ok"


def test_without_redis(db: None, client: Client, settings: LazySettings) -> None:
    settings.REDIS_URL = "redis://:s3cr3t@127.0.0.1:1/0"
    answer = client.get("/health")
    assert answer.status_code == 503
    assert answer.json()["redis"] == "disconnected"
    assert answer.json()["database"] == "connected"
    assert answer.json()["checks"] == _words(
        redis="error", celery="error", beat="error", slow="error", webhooks="error"
    )
    assert b"s3cr3t" not in answer.content
    assert b"127.0.0.1" not in answer.content


READY = {"word": "ready", "percent": 100, "sentence": ""}
PREPARING = {"word": "preparing", "percent": 47, "sentence": "Unpacked 7 of 14."}
NO_NETWORK = {"word": "failed", "percent": 3, "sentence": "The index is unreachable."}


@pytest.mark.parametrize(
    ("reported", "shown"),
    [
        pytest.param(json.dumps(READY), "ready", id="ready"),
        pytest.param(json.dumps(PREPARING), "preparing (47 %)", id="preparing"),
        pytest.param(
            json.dumps(NO_NETWORK), "failed: The index is unreachable.", id="failed"
        ),
        pytest.param(None, "silent", id="no-worker"),
        pytest.param('{"word": "dancing"}', "silent", id="a-newer-word"),
        pytest.param('{"word": "preparing"}', "silent", id="no-percentage"),
        pytest.param("[]", "silent", id="no-object"),
        pytest.param("{", "silent", id="no-json"),
    ],
)
def test_the_media_engine_is_shown_and_never_makes_a_server_unhealthy(
    living: redis.Redis, client: Client, reported: str | None, shown: str
) -> None:
    if reported is not None:
        living.set(MEDIA_STATE, reported)
    for where, schema in (("/health", health.WORDS), ("/api/health/", health.CHECKS)):
        answer = client.get(where)
        assert (answer.status_code, answer.json()["status"]) == (200, "healthy")
        assert answer.json()["media"] == shown
        assert "media" not in answer.json()["checks"]
        jsonschema.validate(answer.json(), schema)


def test_the_media_engine_is_silent_without_redis(
    db: None, client: Client, settings: LazySettings
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert client.get("/health").json()["media"] == "silent"


def _database_at(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Point new connections to another port; the test's own connection stays open."""
    elsewhere = {"HOST": "127.0.0.1", "PORT": str(port), "PASSWORD": "s3cr3t"}
    for name, value in elsewhere.items():
        monkeypatch.setitem(connection.settings_dict, name, value)


def test_without_the_database(
    living: redis.Redis, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    _database_at(monkeypatch, port=1)
    answer = client.get("/health")
    assert answer.status_code == 503
    assert answer.json()["database"] == "disconnected"
    assert answer.json()["checks"] == _words(database="error")
    assert b"s3cr3t" not in answer.content
    assert b"127.0.0.1" not in answer.content


def test_storage_that_cannot_be_written(
    living: redis.Redis, client: Client, settings: LazySettings, tmp_path: Path
) -> None:
    in_the_way = tmp_path / "a file, no folder"
    in_the_way.touch()
    settings.MEDIA_ROOT = in_the_way
    answer = client.get("/health")
    assert answer.status_code == 503
    assert answer.json()["storage"] == "inaccessible"
    assert answer.json()["checks"] == _words(storage="error")


def test_a_check_of_the_storage_leaves_nothing_behind(
    living: redis.Redis, client: Client, storage: Path
) -> None:
    assert client.get("/health").status_code == 200
    assert [found for found in storage.rglob("*") if found.is_file()] == []


def test_hanging_engines_cost_two_seconds_and_three_threads(
    db: None,
    client: Client,
    settings: LazySettings,
    monkeypatch: pytest.MonkeyPatch,
    hung: int,
) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{hung}/0"
    _database_at(monkeypatch, port=hung)
    before = threading.active_count()
    started = time.monotonic()
    answers: list[Any] = []
    callers = [
        threading.Thread(target=lambda: answers.append(Client().get("/health")))
        for _ in range(8)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert time.monotonic() - started < 2.5
    assert [answer.status_code for answer in answers] == [503] * 8
    assert answers[0].json()["checks"]["database"] == "timeout"
    assert answers[0].json()["checks"]["redis"] in ("error", "timeout")
    assert answers[0].json()["storage"] == "accessible"
    # The hanging checks use one thread per engine, not one per caller.
    assert threading.active_count() - before <= len(health.PROBES)


def test_parallel_callers_share_one_check() -> None:
    rounds = 0

    def probe() -> str:
        nonlocal rounds
        rounds += 1
        return "ok"

    checks = health.Checks({"engine": probe})
    for _ in range(20):
        assert checks.words() == {"engine": "ok"}
    assert rounds == 1


def test_a_hanging_check_does_not_start_again_until_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "BUDGET_SECONDS", 0.05)
    monkeypatch.setattr(health, "FRESH_SECONDS", 0.0)
    back = threading.Event()
    asked = 0

    def probe() -> str:
        nonlocal asked
        asked += 1
        back.wait(60)
        return "ok"

    checks = health.Checks({"engine": probe})
    assert [checks.words()["engine"] for _ in range(3)] == ["timeout"] * 3
    assert asked == 1
    back.set()
    time.sleep(0.05)
    assert checks.words() == {"engine": "ok"}
