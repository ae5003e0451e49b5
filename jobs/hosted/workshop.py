"""The workshop of a media worker: works on runs, one after another.

One thread works on runs. Another looks at the engine every few seconds and publishes
its state, also while a run takes minutes. Both poll by themselves, so a wake-up saves
at most the two seconds until the next look.
"""

import logging
import threading
from pathlib import Path

import redis
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from jobs.hosted import engine, sandbox, working
from jobs.hosted.engine import EngineState

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
LOOK_SECONDS = 5.0
# The engine loads its libraries for this answer.
PROBE = sandbox.Limits(seconds=120, stall_seconds=120)


class Workshop:
    """Call `start`, then `wake`. `stop` kills the engine and gives its run back."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._woken = threading.Event()
        self._ready = threading.Event()
        self._probed: tuple[float, EngineState] | None = None
        self._worker = threading.Thread(target=self._work, name="workshop", daemon=True)
        self._watcher = threading.Thread(
            target=self._watch, name="workshop-engine", daemon=True
        )

    def start(self) -> None:
        """Start both threads. Call once."""
        self._watcher.start()
        self._worker.start()

    def wake(self) -> None:
        """Look for due runs now. Never blocks."""
        self._woken.set()

    def stop(self) -> None:
        """Kill the engine, give its run back and end. Returns at once."""
        self._stop.set()
        self._woken.set()

    def join(self, seconds: float) -> None:
        """Wait at most `seconds` for the threads."""
        self._worker.join(seconds)
        self._watcher.join(seconds)

    def is_running(self) -> bool:
        """Whether both threads live. Limits of time end a run that hangs."""
        return self._worker.is_alive() and self._watcher.is_alive()

    def _work(self) -> None:
        removed = sandbox.sweep()
        if removed:
            log.info("removed the folders of %s killed runs", removed)
        while not self._stop.is_set():
            self._woken.clear()
            try:
                if self._ready.is_set() and working.work_one(self._stop):
                    continue
            except (OperationalError, InterfaceError) as error:
                log.warning("workshop: %s: %s", type(error).__name__, error)
                connection.close()
            except Exception:
                log.exception("workshop")
                connection.close()
            self._woken.wait(POLL_SECONDS)
        connection.close()

    def _watch(self) -> None:
        while not self._stop.is_set():
            state = self._look()
            if state.word == engine.READY:
                if not self._ready.is_set():
                    self._ready.set()
                    self._woken.set()
            else:
                self._ready.clear()
            try:
                engine.publish(state)
            except redis.RedisError as gone:
                log.debug("state not published: %s", type(gone).__name__)
            self._stop.wait(LOOK_SECONDS)

    def _look(self) -> EngineState:
        """Return the engine's state. It is ready once it has answered one request."""
        try:
            state = engine.look()
            if state.word != engine.READY:
                self._probed = None
                return state
            changed_at = Path(settings.MEDIA_PYTHON).lstat().st_mtime
            if self._probed is None or self._probed[0] != changed_at:
                self._probed = (changed_at, self._probe())
            return self._probed[1]
        except OSError as error:
            return EngineState(engine.FAILED, sentence=f"The media engine: {error}")

    def _probe(self) -> EngineState:
        try:
            with sandbox.folder() as folder:
                sandbox.run(
                    "capabilities",
                    {},
                    folder=folder,
                    limits=PROBE,
                    should_stop=self._stop.is_set,
                )
        except sandbox.Stopped:
            return EngineState(engine.SILENT)
        except (sandbox.EngineFailed, sandbox.Refused) as failed:
            log.error("the media engine does not answer: %s", failed)
            return EngineState(
                engine.FAILED,
                sentence="The media engine does not start. Run ./dev media, and see the"
                " media worker's log.",
            )
        return EngineState(engine.READY, 100)
