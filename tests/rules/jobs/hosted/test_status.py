"""What a person reads about a run, and what a media worker says about its engine."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from accounts.models import User
from focus.celery import MEDIA_STATE, heartbeat_redis
from jobs.hosted import engine, runs
from jobs.hosted.engine import EngineState
from jobs.hosted.workshop import Workshop
from jobs.models import Run
from tests.hosted import at_work, start
from tests.processes import until

pytestmark = pytest.mark.django_db(transaction=True)


def fresh(run: Run) -> Run:
    return Run.objects.get(pk=run.pk)


@pytest.fixture(autouse=True)
def _no_state() -> None:
    heartbeat_redis.cache_clear()
    heartbeat_redis().delete(MEDIA_STATE)


def test_a_waiting_run_says_why_it_waits(alice: User, bob: User) -> None:
    first = start(bob)
    run = start(alice)
    assert (
        runs.status_of(run).message
        == "media: not available at the moment; the work starts by itself later"
    )
    engine.publish(EngineState(engine.PREPARING, 47, "Unpacking"))
    assert runs.status_of(run).message == "media: preparing (47 %)"
    engine.publish(EngineState(engine.READY, 100))
    assert runs.status_of(run).message == "waiting: 1 before you"
    assert runs.status_of(first).message == "waiting: yours is next"


def test_a_running_run_says_its_stage_and_percentage(
    alice: User, stand_in: Path
) -> None:
    run = start(alice, ["tell", 60.5], ["sleep", 600])
    with at_work(threading.Event()):
        until(lambda: fresh(run).percent == 60, seconds=30)
        status = runs.status_of(fresh(run))
    assert (status.state, status.stage) == ("running", "working")


def test_a_worker_without_an_engine_does_not_hide_a_ready_one() -> None:
    engine.publish(EngineState(engine.READY, 100))
    engine.publish(EngineState(engine.FAILED, sentence="not installed"))
    assert engine.state().word == engine.READY


def test_an_unreadable_state_is_silence() -> None:
    for text in ("", "[]", '{"word": "ready"}', json.dumps({"percent": 3})):
        heartbeat_redis().set(MEDIA_STATE, text)
        assert engine.state() == engine.NO_WORKER


def test_without_redis_the_engine_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = redis.Redis.from_url("redis://127.0.0.1:1/0")
    monkeypatch.setattr(engine, "heartbeat_redis", lambda: gone)
    assert engine.state().word == engine.SILENT


class TestLook:
    """The state of the engine on the worker's own machine."""

    @pytest.fixture(autouse=True)
    def _own_var(self, tmp_path: Path, settings: Any) -> None:
        settings.VAR = tmp_path

    def told(self, tmp_path: Path, **progress: Any) -> EngineState:
        (tmp_path / "media-install.json").write_text(json.dumps(progress))
        return engine.look()

    def test_an_engine_that_is_being_installed(self, tmp_path: Path) -> None:
        state = self.told(tmp_path, percent=47.9, text="unpacked 9 of 20", error="")
        assert state == EngineState("preparing", 47, "unpacked 9 of 20")

    def test_an_installation_that_failed(self, tmp_path: Path) -> None:
        state = self.told(tmp_path, percent=47, text="", error="No space. Free some.")
        assert state == EngineState("failed", 0, "No space. Free some.")

    def test_an_installed_engine(self, tmp_path: Path) -> None:
        assert self.told(tmp_path, percent=100, text="", error="").word == "ready"

    def test_without_a_file_the_interpreter_counts(
        self, tmp_path: Path, settings: Any
    ) -> None:
        assert engine.look().word == "ready"
        settings.MEDIA_PYTHON = tmp_path / "nothing"
        state = engine.look()
        assert state.word == "failed"
        assert "./dev media" in state.sentence

    @pytest.mark.parametrize("text", ["", "[]", "{", '{"percent": "many"}'])
    def test_an_unreadable_file_says_nothing(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "media-install.json").write_text(text)
        assert engine.look().word == "ready"


class TestWorkshop:
    """The threads of a media worker, in this process."""

    @pytest.fixture
    def workshop(self, tmp_path: Path, settings: Any) -> Iterator[Workshop]:
        settings.VAR = tmp_path
        workshop = Workshop()
        workshop.start()
        yield workshop
        workshop.stop()
        workshop.join(60)
        assert not workshop.is_running()

    def test_a_run_is_done_and_the_state_is_published(
        self, alice: User, workshop: Workshop
    ) -> None:
        run = start(alice)
        workshop.wake()
        until(lambda: fresh(run).state == "done")
        until(lambda: engine.state() == EngineState("ready", 100))
        assert workshop.is_running()

    def test_runs_wait_for_an_engine_that_is_being_installed(
        self, alice: User, tmp_path: Path, settings: Any
    ) -> None:
        settings.VAR = tmp_path
        progress = tmp_path / "media-install.json"
        progress.write_text('{"percent": 47, "text": "", "error": ""}')
        workshop = Workshop()
        workshop.start()
        try:
            run = start(alice)
            until(lambda: engine.state().word == "preparing")
            assert fresh(run).state == "queued"
            assert runs.status_of(fresh(run)).message == "media: preparing (47 %)"
            progress.write_text('{"percent": 100, "text": "", "error": ""}')
            until(lambda: fresh(run).state == "done")
        finally:
            workshop.stop()
            workshop.join(60)

    def test_an_engine_that_does_not_start_takes_no_run(
        self, alice: User, tmp_path: Path, settings: Any, stand_in: Path
    ) -> None:
        settings.VAR = tmp_path
        (stand_in / "engine").write_text("#!/bin/sh\nexit 1\n")
        workshop = Workshop()
        workshop.start()
        try:
            run = start(alice)
            until(lambda: engine.state().word == "failed")
            assert "does not start" in engine.state().sentence
            assert (fresh(run).state, fresh(run).tries) == ("queued", 0)
        finally:
            workshop.stop()
            workshop.join(60)
