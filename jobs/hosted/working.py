"""One run's work: claim it, let the engine work, and end it once.

1. `_claim` takes the next run by its account's turn, under a lease.
2. The reservation is extended. That fails where the person no longer allows the app.
3. `prepare`, the engine and `collect` work without a transaction, while a `Heartbeat`
   renews the lease.
4. One transaction locks the run by its lease, publishes the result and settles the job.

A worker that has lost the lease writes nothing: another one, or a cancellation, owns
the run. A killed worker's run is due again when the lease ends.
"""

import logging
from collections.abc import Callable
from threading import Event
from typing import Any, TypeVar

from django.db import InterfaceError, OperationalError, connection, transaction

from accounts.credentials.principals import AppInactive
from accounts.partners.consents import AppNotGranted
from focus.due import NOW
from jobs import extensions, lifecycle
from jobs.hosted import sandbox, turns
from jobs.hosted.heartbeat import Heartbeat
from jobs.hosted.runs import KINDS, QUEUE, HostedKind, State, caller_of, fail_job
from jobs.hosted.sandbox import EngineFailed, Refused, Stopped
from jobs.lifecycle import JobNotStarted
from jobs.models import Run
from wallet import ledger

log = logging.getLogger(__name__)

Returned = TypeVar("Returned")
DATABASE_ERRORS = (OperationalError, InterfaceError)
# The engine may take its whole time, and the files around it as long again.
SPARE_SECONDS = 600
SORRY = "Something went wrong on our side. Nothing was charged. Please try again later."
NOT_ALLOWED = "The work was not done, because you no longer allow this app."
SWITCHED_OFF = "The work was not done, because this app is switched off at the moment."
WAITED = "The work waited too long for its turn. Nothing was charged. Please try again."


class LeaseLost(Exception):
    """Another worker or a cancellation owns the run. Write nothing."""


def work_one(stop: Event) -> bool:
    """Work on one run; returns False where none is due.

    If `stop` is set meanwhile, the engine is killed and the run is due again, and the
    try does not count. Raises database errors, after which the lease ends by itself.
    """
    run = _claim()
    if run is None:
        return False
    kind = KINDS[run.kind]
    try:
        _work(run, kind, stop)
    except LeaseLost:
        log.info("run %s: the lease is lost", run.pk)
    except Stopped:
        _give_back(run)
    except Refused as refused:
        _fail(run, kind, refused, code=refused.code, sentence=refused.sentence)
    except EngineFailed as failed:
        log.warning("run %s, try %s: %s", run.pk, run.tries, failed)
        _retry_or_fail(run, kind, failed)
    except DATABASE_ERRORS:
        raise
    except Exception as broken:
        log.exception("run %s, try %s", run.pk, run.tries)
        detail = f"{type(broken).__name__}: {broken}"
        _retry_or_fail(run, kind, EngineFailed("internal", detail))
    return True


@transaction.atomic
def _claim() -> Run | None:
    turns.take()
    for run_id in turns.upcoming(KINDS):
        # The row of a run that is being cancelled is locked, so the next one is taken.
        claimed = QUEUE.claim(
            Run.objects.filter(pk=run_id),
            state=State.RUNNING,
            stage="preparing",
            percent=0,
            message="",
            started_at=NOW,
        )
        if claimed is not None:
            return claimed
    return None


def _work(run: Run, kind: HostedKind, stop: Event) -> None:
    if QUEUE.is_spent(run):
        raise EngineFailed("worker_died", "A worker died in every try.")
    most_seconds = kind.limits.seconds + SPARE_SECONDS
    _keep_reservation(run, seconds=most_seconds)
    with sandbox.folder() as folder, Heartbeat(run, most_seconds) as heart:

        def should_stop() -> bool:
            return stop.is_set() or heart.lost.is_set()

        # A database that is gone for a while must cost neither a try nor the work.
        request = _with_patience(lambda: kind.prepare(run, folder), heart)
        try:
            answer = sandbox.run(
                kind.command,
                request,
                folder=folder,
                limits=kind.limits,
                on_progress=heart.note,
                should_stop=should_stop,
            )
        except Stopped:
            if heart.lost.is_set():
                raise LeaseLost from None
            raise
        result = _with_patience(lambda: kind.collect(run, answer, folder), heart)
        if heart.lost.is_set():
            raise LeaseLost
        _with_patience(lambda: _succeed(run, kind, answer, result), heart)


def _keep_reservation(run: Run, *, seconds: float) -> None:
    """Keep the job's credits reserved for the whole try.

    A reservation that lasts longer stays as it is. Even then the call refuses a person
    who has closed the account or no longer allows the app.
    """
    try:
        extensions.extend(
            job_id=run.job_id, caller=caller_of(run), ttl_seconds=int(seconds)
        )
    except AppNotGranted:
        raise Refused("not_allowed", NOT_ALLOWED) from None
    except AppInactive:
        raise Refused("app_inactive", SWITCHED_OFF) from None
    except (JobNotStarted, ledger.TtlTooLong):
        raise Refused("waited_too_long", WAITED) from None


@transaction.atomic
def _succeed(run: Run, kind: HostedKind, answer: dict[str, Any], result: Any) -> None:
    locked = _lock(run)
    QUEUE.finish(
        run,
        state=State.DONE,
        stage="done",
        percent=100,
        message="",
        report=answer,
        finished_at=NOW,
        error_code="",
        error_detail="",
    )
    locked.refresh_from_db()
    charge_micro = kind.publish(locked, result)
    lifecycle.complete(
        job_id=run.job_id, caller=caller_of(run), cost_micro=charge_micro, metadata={}
    )
    kind.settled(locked)


def _retry_or_fail(run: Run, kind: HostedKind, failed: EngineFailed) -> None:
    if QUEUE.is_last(run) or failed.code == "bad_request":
        _fail(run, kind, failed, code=failed.code, sentence=SORRY)
        return
    QUEUE.retry(
        run,
        state=State.QUEUED,
        stage="",
        percent=0,
        error_code=failed.code[:40],
        error_detail=failed.detail[:2000],
    )


@transaction.atomic
def _fail(
    run: Run,
    kind: HostedKind,
    failed: Refused | EngineFailed,
    *,
    code: str,
    sentence: str,
) -> None:
    """End the run without a result, and return its credits."""
    try:
        locked = _lock(run)
    except LeaseLost:
        return
    QUEUE.finish(
        run,
        state=State.FAILED,
        finished_at=NOW,
        message="",
        error_code=code[:40],
        error_sentence=sentence[:300],
        error_change=getattr(failed, "change", "")[:300],
        error_detail=getattr(failed, "detail", "")[:2000],
    )
    locked.refresh_from_db()
    kind.ended(locked)
    fail_job(run, sentence)


def _give_back(run: Run) -> None:
    """Make the run due now, as if this worker had never taken it."""
    QUEUE.claimed_row(run).update(
        state=State.QUEUED,
        stage="",
        percent=0,
        due_at=NOW,
        lease=None,
        tries=run.tries - 1,
    )


def _lock(run: Run) -> Run:
    """Lock the run's row if this worker still owns it. Raises `LeaseLost`."""
    locked = QUEUE.claimed_row(run).select_for_update(no_key=True).first()
    if locked is None:
        raise LeaseLost
    return locked


def _with_patience(step: Callable[[], Returned], heart: Heartbeat) -> Returned:
    """Repeat a step during which the database was gone, until the lease is lost.

    If the last commit arrived and its answer did not, the lease is gone and the repeat
    raises `LeaseLost`.
    """
    while True:
        try:
            return step()
        except DATABASE_ERRORS as error:
            log.warning("%s: %s", type(error).__name__, error)
            connection.close()
            if heart.lost.wait(1.0):
                raise LeaseLost from None
