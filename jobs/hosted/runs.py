"""The life of a run as others see it: start, cancel, try again, and its status.

A run's work is in `working.py`. Every function here locks the run's row first, then its
job and then the wallet, as the worker does.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import transaction

from accounts.models.apps import LONGEST_TTL_SECONDS
from focus import nudges
from focus.due import NOW, Backoff, Queue
from focus.errors import DomainError
from jobs import lifecycle
from jobs.hosted import engine, prices, turns
from jobs.hosted.sandbox import Limits
from jobs.lifecycle import Caller, JobNotStarted
from jobs.models import Run

MOST_TRIES = 3
LEASE = timedelta(seconds=60)
WAKE = "jobs.wake_media"
CANCELLED = "The work was cancelled."

State = Run.State


class RunNotFound(DomainError):
    """There is no such run."""

    code = "run_not_found"


class RunNotFailed(DomainError):
    """Only a failed run is tried again. Facts: `state`."""

    code = "run_not_failed"


class RunCannotRepeat(DomainError):
    """The product no longer has what the run needs, such as its photo."""

    code = "run_cannot_repeat"


@dataclass(frozen=True)
class HostedKind:
    """One kind of hosted work, and the four steps that its product owns.

    1. `prepare(run, folder)` puts the sources into the folder and returns the engine's
       request. It may raise `sandbox.Refused`.
    2. `collect(run, answer, folder)` stores the results as files. `answer` is the last
       line of the engine. Both steps run outside of any transaction, may take minutes,
       and run again after a crash or a loss of the database.
    3. `publish(run, result)` gets what `collect` returned, writes the product's rows,
       keeps the files and returns the charge (`prices.charge_of`). It runs in the last
       transaction, which holds the run's row, and only once.
    4. `ended(run)` runs in the transaction that ends the run without a result.

    `settled(run)` runs in the same transaction, after the job was settled. It locks the
    account's row if it must: every other transaction locks the wallet before that row.
    `may_repeat` says whether a failed run still has what it needs.
    """

    name: str
    app_slug: str
    action: str
    command: str
    limits: Limits
    prepare: Callable[[Run, Path], dict[str, Any]]
    collect: Callable[[Run, dict[str, Any], Path], Any]
    publish: Callable[[Run, Any], int]
    ended: Callable[[Run], None]
    settled: Callable[[Run], None] = lambda run: None
    may_repeat: Callable[[Run], bool] = lambda run: True


@dataclass(frozen=True, slots=True)
class RunStatus:
    """What a person is shown of a run. `message` is a sentence, or empty."""

    state: str
    stage: str
    percent: int
    message: str


KINDS: dict[str, HostedKind] = {}


def register(kind: HostedKind) -> None:
    """Add a kind, or replace the one of the same name. Call while modules load."""
    KINDS[kind.name] = kind


def _no_worker_can_work() -> bool:
    """Whether a run that waits is overdue, which staff must see.

    A long queue or an engine that is being installed is no fault of a worker.
    """
    return engine.state().word in (engine.SILENT, engine.FAILED)


QUEUE = Queue(
    Run.objects.filter(state__in=[State.QUEUED, State.RUNNING]),
    task=WAKE,
    lease=LEASE,
    backoff=Backoff(first=timedelta(seconds=10), longest=timedelta(minutes=5)),
    most_tries=MOST_TRIES,
    is_on=_no_worker_can_work,
)


def caller_of(run: Run) -> Caller:
    """The worker's own way to the job of its run."""
    return Caller(actor=f"run:{run.pk}", account_id=run.account_id, hosted=True)


@transaction.atomic
def start(
    *,
    kind: str,
    account_id: UUID,
    request: dict[str, Any],
    description: str,
    preview_url: str = "",
    units: int = 1,
) -> Run:
    """Reserve the price of `units`, write the job and its run, and wake a worker.

    `request` holds the options that the person chose. The call is the person's consent
    to the app. Call it in the transaction that writes the product's row. Raises as
    `prices.start`, and then writes nothing.
    """
    what = KINDS[kind]
    opened = prices.start(
        account_id=account_id,
        app_slug=what.app_slug,
        action=what.action,
        units=units,
        metadata={"description": description, "previewUrl": preview_url},
        # The reservation outlives a long queue, and a day without a worker.
        ttl_seconds=LONGEST_TTL_SECONDS,
    )
    run = Run.objects.create(
        account_id=account_id,
        kind=kind,
        job=opened.job,
        request=request,
        due_at=NOW,
        **opened.hold.columns,
    )
    run.refresh_from_db()
    nudges.wake_media()
    return run


@transaction.atomic
def cancel(*, run_id: UUID) -> bool:
    """End a run that has not ended, and return its reservation.

    Returns False where the run had ended. The worker of a running one finds its lease
    gone within seconds and kills the engine. Raises `RunNotFound`.
    """
    run = _lock(run_id)
    if run.state not in (State.QUEUED, State.RUNNING):
        return False
    Run.objects.filter(pk=run.pk).update(
        state=State.CANCELLED, finished_at=NOW, due_at=None, lease=None
    )
    run.refresh_from_db()
    KINDS[run.kind].ended(run)
    fail_job(run, CANCELLED)
    return True


@transaction.atomic
def requeue(*, run_id: UUID, actor: str) -> Run:
    """Have a failed run worked on again, with all its tries and a job of its own.

    The job of the failed run stays failed, because its reservation was returned. The
    new job reserves today's price. It needs the person's consent, which staff cannot
    give. Raises `RunNotFound`, `RunNotFailed`, `RunCannotRepeat`, and as
    `lifecycle.start`.
    """
    run = _lock(run_id)
    if run.state != State.FAILED:
        raise RunNotFailed(f"The run is {run.state}, not failed.", state=run.state)
    if not KINDS[run.kind].may_repeat(run):
        raise RunCannotRepeat("What the run needs is no longer stored.")
    old = run.job
    held = prices.hold(
        app_slug=old.app.slug,
        action=old.action,
        units=run.units,
        account_id=run.account_id,
    )
    job = lifecycle.start(
        account_id=run.account_id,
        app=old.app,
        action=old.action,
        estimate_micro=held.micro,
        metadata=old.metadata,
        actor=actor,
        needs_consent=True,
        ttl_seconds=LONGEST_TTL_SECONDS,
        hosted=True,
    ).job
    QUEUE.restart(
        Run.objects.filter(pk=run.pk),
        state=State.QUEUED,
        job=job,
        stage="",
        percent=0,
        message="",
        started_at=None,
        finished_at=None,
        **held.columns,
        **NO_ERROR,
    )
    run.refresh_from_db()
    nudges.wake_media()
    return run


NO_ERROR = {
    "error_code": "",
    "error_sentence": "",
    "error_change": "",
    "error_detail": "",
}


def fail_job(run: Run, reason: str) -> None:
    """Return the reservation of a run that ends without a result.

    A job that has ended in another way stays as it is. Locks the job, then the wallet.
    """
    try:
        lifecycle.fail(
            job_id=run.job_id,
            caller=caller_of(run),
            refund=True,
            fail_reason=reason[:500],
        )
    except JobNotStarted:
        return


def status_of(run: Run) -> RunStatus:
    """Return what the person is shown of a run, as its row was read.

    A queued run costs one query and one call of Redis; any other run costs nothing.
    """
    return statuses_of([run])[run.pk]


def statuses_of(runs: Iterable[Run]) -> dict[UUID, RunStatus]:
    """As `status_of`, by the id of each run, and for all runs at the cost of one."""
    rows = list(runs)
    waits = _waits_for([run for run in rows if run.state == State.QUEUED])
    return {run.pk: _status(run, waits.get(run.pk, "")) for run in rows}


def _status(run: Run, waits_for: str) -> RunStatus:
    if run.state == State.QUEUED:
        return RunStatus(run.state, "queued", 0, waits_for)
    message = run.error_sentence if run.state == State.FAILED else run.message
    return RunStatus(run.state, run.stage, run.percent, message)


def _waits_for(queued: list[Run]) -> dict[UUID, str]:
    if not queued:
        return {}
    media = engine.state()
    if media.word == engine.READY:
        before = turns.before(queued, KINDS)
        return {pk: _place(count) for pk, count in before.items()}
    words = "media: not available at the moment; the work starts by itself later"
    if media.word == engine.PREPARING:
        words = f"media: preparing ({media.percent} %)"
    return {run.pk: words for run in queued}


def _place(before: int) -> str:
    return f"waiting: {before} before you" if before else "waiting: yours is next"


def _lock(run_id: UUID) -> Run:
    run = Run.objects.select_for_update(no_key=True).filter(pk=run_id).first()
    if run is None:
        raise RunNotFound("There is no such run.")
    return run
