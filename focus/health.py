"""The checks behind /health (Cosmiv's guide) and /api/health/ (reviv's).

The endpoints have no authentication and no rate limit. So one round of checks serves
every caller for half a second, and a hung engine holds one thread and not one per
caller. A failure is one stable word; the exception goes to the log.
"""

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import psycopg
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from focus.celery import (
    BEAT_ALIVE,
    MEDIA_STATE,
    SLOW_ALIVE,
    WEBHOOKS_ALIVE,
    WORKER_ALIVE,
    heartbeat_redis,
)
from focus.contracts import Open
from focus.contracts.cosmiv import Cosmiv
from focus.contracts.reviv import Reviv
from focus.web.routing import either_slash

BUDGET_SECONDS = 1.5
FRESH_SECONDS = 0.5

OK, ERROR, TIMEOUT, SILENT = "ok", "error", "timeout", "silent"
READ_ONLY = "read_only"

# Shown beside the checks; neither ever makes a server unhealthy.
FAILED, MEDIA = "failed_tasks", "media"

log = logging.getLogger(__name__)


class Checks:
    """Runs one round of probes at a time, each in its own thread, within the budget.

    A probe that has not returned is not started again; meanwhile its word is `timeout`.
    """

    def __init__(self, probes: dict[str, Callable[[], str]]) -> None:
        self._probes = probes
        self._lock = threading.Lock()
        self._running: dict[str, threading.Thread] = {}
        self._answers: dict[str, str] = {}
        self._words: dict[str, str] = {}
        self._until = 0.0

    def words(self) -> dict[str, str]:
        """Return one word per probe, from a round of at most FRESH_SECONDS ago."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._words = self._round()
                self._until = time.monotonic() + FRESH_SECONDS
            return self._words

    def _round(self) -> dict[str, str]:
        deadline = time.monotonic() + BUDGET_SECONDS
        for name in self._probes:
            running = self._running.get(name)
            if running is None or not running.is_alive():
                self._answers.pop(name, None)
                self._running[name] = thread = threading.Thread(
                    target=self._run_probe,
                    args=(name,),
                    name=f"health-{name}",
                    daemon=True,
                )
                thread.start()
        for thread in self._running.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        return {name: self._answers.get(name, TIMEOUT) for name in self._probes}

    def _run_probe(self, name: str) -> None:
        try:
            answer = self._probes[name]()
        except Exception as broken:
            log.warning("Health: %s: %s: %s", name, type(broken).__name__, broken)
            answer = ERROR
        self._answers[name] = answer


def _database() -> str:
    # A new connection: a pooled one could hang in a request, and a server that is out
    # of connections is not healthy.
    params = connection.get_connection_params() | {"connect_timeout": 2}
    with psycopg.connect(**params, autocommit=True) as own:
        asked = own.execute(
            "SELECT pg_is_in_recovery()"
            " OR current_setting('transaction_read_only')::boolean"
        ).fetchone()
    # During a fail-over PostgreSQL responds, but refuses every write.
    return READ_ONLY if asked and asked[0] else OK


def _redis() -> str:
    # A write and not a ping: a replica answers pings, but refuses writes.
    heartbeat_redis().set("focus:health", "1", ex=60)
    return OK


def _worker() -> str:
    return OK if heartbeat_redis().exists(WORKER_ALIVE) else SILENT


def _slow() -> str:
    return OK if heartbeat_redis().exists(SLOW_ALIVE) else SILENT


def _webhooks() -> str:
    return OK if heartbeat_redis().exists(WEBHOOKS_ALIVE) else SILENT


def _beat() -> str:
    return OK if heartbeat_redis().exists(BEAT_ALIVE) else SILENT


def _failed_tasks() -> str:
    """Return the background tasks that failed and have not succeeded since.

    This is no check: staff must act, but the server still serves requests.
    """
    params = connection.get_connection_params() | {"connect_timeout": 2}
    with psycopg.connect(**params, autocommit=True) as own:
        found = own.execute(
            "SELECT DISTINCT split_part(task, ' ', 1) FROM focus_failure"
            " WHERE healed_at IS NULL ORDER BY 1 LIMIT 50"
        )
        return " ".join(str(row[0]) for row in found)


def _media() -> str:
    """Return the media engine's state, as its worker last reported it.

    This is no check: without the engine only hosted work waits.
    """
    reported: Any = heartbeat_redis().get(MEDIA_STATE)
    state = json.loads(reported) if reported else {"word": SILENT}
    match state["word"]:
        case "preparing":
            return f"preparing ({int(state['percent'])} %)"
        case "failed":
            return f"failed: {state['sentence']}"
        case "ready":
            return "ready"
    return SILENT


def _storage() -> str:
    name = default_storage.save(f"health/{uuid.uuid4().hex}", ContentFile(b"ok"))
    try:
        with default_storage.open(name) as written:
            return OK if written.read() == b"ok" else ERROR
    finally:
        default_storage.delete(name)


PROBES = {
    "database": _database,
    "redis": _redis,
    "storage": _storage,
    "celery": _worker,
    "beat": _beat,
    "slow": _slow,
    "webhooks": _webhooks,
    FAILED: _failed_tasks,
    MEDIA: _media,
}
checks = Checks(PROBES)


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties]}


def _word(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": [*values]}


_CHECK = _word(OK, ERROR, TIMEOUT, SILENT, READ_ONLY)
_ENGINE = _word("connected", "disconnected")
_FAILED = {
    "type": "array",
    "items": {"type": "string"},
    "description": "Background tasks that failed and have not succeeded since.",
}
_MEDIA = {
    "type": "string",
    "pattern": r"^(ready|silent|preparing \(\d+ %\)|failed: .+)$",
    "description": (
        "The media engine: `ready`, `preparing (47 %)` while it is installed, "
        "`failed: ` and why, or `silent` without a media worker. Hosted work waits "
        "until it is ready. It never changes the status."
    ),
}
WORDS = _object(
    status=_word("healthy", "unhealthy"),
    database=_ENGINE,
    redis=_ENGINE,
    celery=_ENGINE,
    storage=_word("accessible", "inaccessible"),
    checks={"type": "object", "additionalProperties": _CHECK},
    failed_tasks=_FAILED,
    media=_MEDIA,
)
CHECKS = _object(
    status=_word("healthy", "degraded"),
    checks={"type": "object", "additionalProperties": _CHECK},
    failed_tasks=_FAILED,
    media=_MEDIA,
)


def _results() -> tuple[dict[str, str], dict[str, Any]]:
    """Return the word of each check, and what stands beside the checks."""
    words = dict(checks.words())
    failed, media = words.pop(FAILED), words.pop(MEDIA)
    return words, {
        FAILED: [] if failed in (ERROR, TIMEOUT) else failed.split(),
        MEDIA: SILENT if media in (ERROR, TIMEOUT) else media,
    }


class CosmivHealth(Open, Cosmiv, ViewSet):
    """Cosmiv guide, "Health Check": one word for each engine."""

    @extend_schema(summary="Health", responses={200: WORDS, 503: WORDS})
    def read(self, request: Any) -> Response:
        words, beside = _results()
        healthy = set(words.values()) == {OK}
        body = {
            "status": "healthy" if healthy else "unhealthy",
            **{
                name: "connected" if words[name] == OK else "disconnected"
                for name in ("database", "redis", "celery")
            },
            "storage": "accessible" if words["storage"] == OK else "inaccessible",
            "checks": words,
            **beside,
        }
        return Response(body, status=200 if healthy else 503)


class RevivHealth(Open, Reviv, ViewSet):
    """reviv guide, "Health": 200 when every check is `ok`, else 503 `degraded`."""

    @extend_schema(summary="Health", responses={200: CHECKS, 503: CHECKS})
    def read(self, request: Any) -> Response:
        words, beside = _results()
        words["cache"] = words.pop("redis")
        healthy = set(words.values()) == {OK}
        body = {
            "status": "healthy" if healthy else "degraded",
            "checks": words,
            **beside,
        }
        return Response(body, status=200 if healthy else 503)


cosmiv = either_slash("health", CosmivHealth.as_view({"get": "read"}))
reviv = either_slash("health/", RevivHealth.as_view({"get": "read"}))
