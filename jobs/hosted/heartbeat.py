"""The heartbeat of a run that is being worked on: renews its lease, writes progress."""

import logging
import threading
import time
from types import TracebackType
from typing import Any, Self

from django.db import InterfaceError, OperationalError, connection

from jobs.hosted.runs import LEASE, QUEUE
from jobs.models import Run

log = logging.getLogger(__name__)

# A cancellation is noticed within this time. Progress is written once in it.
BEAT_SECONDS = 2.0
# The worker gives up this long before the database would let another one take the run.
SAFETY_SECONDS = 10.0


class Heartbeat:
    """A thread that renews the lease of `run` during the block.

    `lost` is set when the lease is lost: the run was cancelled, another worker has it,
    or the database has not answered for most of the lease. After `most_seconds` the
    lease is not renewed any more, so a worker that hangs loses its run.
    """

    def __init__(self, run: Run, most_seconds: float) -> None:
        self.lost = threading.Event()
        self._run = run
        self._stays_until = time.monotonic() + most_seconds
        self._held_until = self._lease_from_now()
        self._progress: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(
            target=self._beat, name=f"run {run.pk}", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def note(self, percent: float, stage: str) -> None:
        """Remember the progress for the next beat. Never blocks."""
        with self._lock:
            self._progress = {"percent": int(percent), "stage": stage}

    def _beat(self) -> None:
        while not self._done.wait(BEAT_SECONDS) and not self.lost.is_set():
            with self._lock:
                progress = dict(self._progress)
            now = time.monotonic()
            if now > self._stays_until:
                self.lost.set()
                break
            until = self._lease_from_now()
            try:
                renewed = QUEUE.renew(self._run, **progress)
            except (OperationalError, InterfaceError) as error:
                log.warning("run %s: %s", self._run.pk, type(error).__name__)
                connection.close()
                if time.monotonic() > self._held_until:
                    self.lost.set()
                continue
            except Exception:
                # Without a heartbeat the run would be taken by another worker.
                log.exception("run %s", self._run.pk)
                self.lost.set()
                break
            if not renewed:
                self.lost.set()
            self._held_until = until
        connection.close()

    def _lease_from_now(self) -> float:
        return time.monotonic() + LEASE.total_seconds() - SAFETY_SECONDS
