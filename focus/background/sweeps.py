"""Background work over many rows: one row's failure is recorded and stops no other.

Staff and /health read the `Failure` rows. Work that has rows of its own with a state,
an error and a next try (Stripe events, top-up attempts) records its failures there.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import wraps

from django.db import DatabaseError
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from focus.models import Failure

log = logging.getLogger(__name__)

FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=4), timedelta(hours=1)
KEPT = timedelta(days=90)


class Sweep:
    """One run of a task over its subjects:

        sweep = Sweep("jobs.expire_due")
        for job_id in due.exclude(pk__in=sweep.backing_off):
            with sweep.each(job_id):
                expire(job_id)
        sweep.end(complete=True)

    Runs in autocommit: each subject has its own transaction. `backing_off` has the
    subjects that failed and wait longer each time, so that new subjects come first.
    """

    def __init__(self, task: str) -> None:
        self.task = task
        still_open = Failure.objects.filter(task=task, healed_at=None)
        failing = list(still_open.exclude(subject=""))
        now = timezone.now()
        self.backing_off = {it.subject for it in failing if _next_try(it) > now}
        self._failing = {it.subject for it in failing}
        self._failed: set[str] = set()

    @contextmanager
    def each(
        self, subject: object, *, ends: tuple[type[Exception], ...] = ()
    ) -> Iterator[None]:
        """Record an exception of the block as the subject's failure, and continue.

        Exceptions in `ends` concern every subject, so they are raised and end the run.
        """
        name = str(subject)[:255]
        try:
            yield
        except ends:
            raise
        except Exception as failure:
            log.exception("%s: %s failed", self.task, name)
            self._failed.add(name)
            record_failure(task=self.task, subject=name, failure=failure)
        else:
            if name in self._failing and name not in self._failed:
                self._failing.discard(name)
                record_success(task=self.task, subject=name)

    def end(self, *, complete: bool) -> None:
        """Close the failures of subjects that are no longer due.

        `complete` says that this run saw every due subject. Otherwise it closes none.
        """
        if complete:
            for name in self._failing - self._failed - self.backing_off:
                record_success(task=self.task, subject=name)


def _next_try(failure: Failure) -> datetime:
    doublings: int = min(failure.times - 1, 12)
    wait: timedelta = min(FIRST_WAIT * (1 << doublings), LONGEST_WAIT)
    return failure.last_at + wait


def run_steps(task: str, *steps: Callable[[], object]) -> None:
    """Run each step of a task, also after another step has failed."""
    sweep = Sweep(task)
    for step in steps:
        with sweep.each(f"{step.__module__}.{step.__qualname__}"):
            step()


def record_failure(*, task: str, subject: str = "", failure: BaseException) -> None:
    """Record a failure; counts up an open one. Logs and ignores a database error."""
    error = f"{type(failure).__name__}: {failure}".replace("\x00", "")[:400]
    try:
        there = Failure.objects.filter(task=task, subject=subject, healed_at=None)
        again = there.update(error=error, times=F("times") + 1, last_at=Now())
        if not again:
            Failure.objects.bulk_create(
                [Failure(task=task, subject=subject, error=error)],
                ignore_conflicts=True,
            )
    except DatabaseError as away:
        log.warning("failure not recorded: %s: %s", task, type(away).__name__)


def record_success(*, task: str, subject: str = "") -> None:
    """Close the open failure, if any. Logs and ignores a database error."""
    try:
        there = Failure.objects.filter(task=task, subject=subject, healed_at=None)
        there.update(healed_at=Now())
    except DatabaseError as away:
        log.warning("success not recorded: %s: %s", task, type(away).__name__)


def forget_old() -> int:
    """Delete failures that were closed long ago. Returns the number of rows."""
    old = Failure.objects.filter(healed_at__lt=timezone.now() - KEPT)
    return old.delete()[0]


def one_at_a_time(work: Callable[..., None]) -> Callable[..., None]:
    """Run a task at most once at a time in this process.

    A second run returns at once, so a slow kind of work takes only one thread.
    """
    under_way = threading.Lock()

    @wraps(work)
    def once(*args: object, **kwargs: object) -> None:
        if not under_way.acquire(blocking=False):
            return
        try:
            work(*args, **kwargs)
        finally:
            under_way.release()

    return once
