"""The management command media_queue."""

import io
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from accounts.models import App, User
from focus.celery import MEDIA_STATE, heartbeat_redis
from jobs.hosted import engine
from jobs.models import Run
from tests.doors.hosted_rows import run

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_worker() -> Iterator[None]:
    heartbeat_redis().delete(MEDIA_STATE)
    yield
    heartbeat_redis().delete(MEDIA_STATE)


def told() -> Any:
    out = io.StringIO()
    call_command("media_queue", stdout=out)
    (line,) = out.getvalue().splitlines()
    return json.loads(line)


def test_an_empty_queue_without_a_worker() -> None:
    assert told() == {
        "engine": "silent",
        "engine_percent": 0,
        "engine_sentence": "No media worker is running.",
        "waiting": 0,
        "oldest_waited_seconds": None,
        "running": 0,
        "failed_today": 0,
    }


def test_the_figures_of_a_queue_while_the_engine_is_installed(
    alice: User, video: App
) -> None:
    engine.publish(engine.EngineState("preparing", 47, "Unpacked 7 of 14 packages."))
    waiting = run(alice, video)
    created = timezone.now() - timedelta(hours=1)
    Run.objects.filter(pk=waiting.pk).update(created_at=created)
    run(alice, video, "running")
    run(alice, video, "done")
    run(alice, video, "failed")
    figures = told()
    assert figures.pop("oldest_waited_seconds") >= 3600
    assert figures == {
        "engine": "preparing",
        "engine_percent": 47,
        "engine_sentence": "Unpacked 7 of 14 packages.",
        "waiting": 1,
        "running": 1,
        "failed_today": 1,
    }
