"""The life of a job: start reserves credits, complete settles, fail returns them.

Every function that ends a job locks the job's row first and the wallet after it. So
callers that race for one job wait for each other, and the second sees the first's work.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from psycopg.types.json import Jsonb

from accounts.credentials.access import TokenBoundToApp
from accounts.models import App
from accounts.partners import first_party
from focus.database.statements import columns, instance, tuples
from focus.errors import DomainError
from jobs import job_events
from jobs.models import Job
from jobs.webhooks import outbox
from wallet import ledger
from wallet.ledger import Balance


class JobNotFound(DomainError):
    """The caller has no such job."""

    code = "job_not_found"


class JobNotStarted(DomainError):
    """The job has ended in another way or at another cost. Facts: `status`."""

    code = "job_not_started"


class AppKeyRequired(DomainError):
    """Only the app's keys settle this job.

    One of them started the job, or the app requires its keys for all of its jobs.
    Otherwise a user could fail the app's finished job and get the credits back.
    """

    code = "app_key_required"


@dataclass(frozen=True)
class Caller:
    """The account that acts on its own jobs, or the app that acts on its own by a key.

    A credential that is bound to an app reaches the account's jobs of that app only
    (`bound_to`). The ledger's entries keep `actor`. `hosted` marks the hosted work of a
    first-party app, which alone acts on the jobs of such an app.
    """

    actor: str
    account_id: UUID | None = None
    app_id: UUID | None = None
    bound_to: App | None = None
    hosted: bool = False


@dataclass(frozen=True, slots=True)
class JobAsOf:
    """A job's row, and the ledger's clock when the row was read.

    `owner_listens` says whether the app's owner has an enabled endpoint. Lists do not
    ask for it and leave it False.
    """

    job: Job
    now: datetime
    owner_listens: bool = False

    @property
    def status(self) -> str:
        """The status by `now`: time expires a job before any sweeper writes it."""
        job = self.job
        if job.status == Job.Status.STARTED and job.expires_at <= self.now:
            return Job.Status.EXPIRED
        return job.status


@dataclass(frozen=True)
class Outcome:
    """A job after a call, and its wallet's balance as the app sees it.

    `changed` is False where the job had ended the same way before.
    """

    job: Job
    balance: Balance
    changed: bool = True


def start(
    *,
    account_id: UUID,
    app: App,
    action: str,
    estimate_micro: int,
    metadata: dict[str, Any],
    actor: str,
    by_app: bool = False,
    needs_consent: bool = False,
    ttl_seconds: int | None = None,
    hosted: bool = False,
) -> Outcome:
    """Reserve the estimate, and write the job and its event. Takes one statement.

    With `by_app` an app's key starts the job: the person must have let the app, and
    only the app's keys settle the job. Otherwise the person starts the job. With
    `needs_consent` the person must have let the app as well. Without, the start is the
    person's consent, and the caller records the consent after this call, in the same
    transaction. Only hosted work starts jobs of a first-party app (`hosted`).

    Raises `ledger.InsufficientCredits`, `ledger.BudgetExceeded`, `AppNotGranted`,
    `AppInactive`, `HostedApp` or `ledger.TtlTooLong`, and then writes nothing. An
    estimate of 0 is allowed and books nothing.
    """
    if not hosted:
        first_party.refuse(app)
    if ttl_seconds is not None:
        check_ttl(app, ttl_seconds)
    usual = min(settings.RESERVATION_TTL_SECONDS, app.max_ttl_seconds)
    job = Job(
        id=uuid4(),
        account_id=account_id,
        app=app,
        action=action,
        reserved_micro=estimate_micro,
        metadata=metadata,
        started_by_app=by_app,
    )
    about = {"action": action, "metadata": Jsonb(metadata), "by_app": by_app}
    then = ledger.Consequence(_INSERT_JOB, about)
    if app.owner_id is not None:
        event = outbox.event_params(
            account_id=app.owner_id,
            app_id=app.pk,
            name="job.created",
            about=job.pk,
            data=job_events.data_of(job),
        )
        params = {**then.params, **event, "event_if": "reserved"}
        then = ledger.Consequence(
            _INSERT_JOB, params, outbox.AFTER_MOVEMENT, outbox.DELIVERIES
        )
    reserved = ledger.reserve(
        account_id=account_id,
        app=app,
        job_id=job.pk,
        amount_micro=estimate_micro,
        ttl_seconds=ttl_seconds or usual,
        actor=actor,
        by_person=not (by_app or needs_consent),
        then=then,
    )
    job.expires_at = reserved.expires_at
    outbox.wake_courier_for(deliveries=reserved.also.get("deliveries", 0))
    return Outcome(job, reserved.balance)


# The job takes the reservation's own expiry, so that the two never differ.
_INSERT_JOB = """
    INSERT INTO jobs_job (id, account_id, app_id, action, status, reserved_micro,
      charged_micro, refunded_micro, uncovered_micro, late, fail_reason, metadata,
      started_by_app, created_at, expires_at)
    SELECT %(job)s, %(account)s, %(app)s, %(action)s, 'started', %(amount)s,
      0, 0, 0, false, '', %(metadata)s, %(by_app)s,
      moved.expires_at - make_interval(secs => %(ttl)s), moved.expires_at
    FROM moved WHERE moved.outcome = 'reserved'
"""


def check_ttl(app: App, ttl_seconds: int) -> None:
    """Raise `ledger.TtlTooLong` for more than the app reserves credits at once."""
    if ttl_seconds > app.max_ttl_seconds:
        raise ledger.TtlTooLong(
            f"This app reserves credits for at most {app.max_ttl_seconds} seconds.",
            max_ttl_seconds=app.max_ttl_seconds,
        )


@transaction.atomic
def complete(
    *,
    job_id: UUID,
    caller: Caller,
    cost_micro: int | None,
    metadata: dict[str, Any],
) -> Outcome:
    """Settle a job at its real cost, which is the estimate where `cost_micro` is None.

    The app's overage policy decides about a cost above the reservation, and about a job
    that had expired (`late`). If the person has revoked the app, or if the account or
    the app is closed, the job costs at most the reservation. The rest is `uncovered`.
    New keys of `metadata` replace old ones.

    A repeat with the same cost changes nothing and returns the same facts. Raises
    `JobNotFound`, `TokenBoundToApp`, `HostedApp`, `AppKeyRequired`, `JobNotStarted` for
    another cost or a failed job, and as `ledger.settle`. Locks the job, then the
    wallet.
    """
    found = lock(job_id, caller)
    job, late = found.job, found.status == Job.Status.EXPIRED
    cost = job.reserved_micro if cost_micro is None else cost_micro
    if job.status == Job.Status.COMPLETED and job.actual_cost_micro == cost:
        return _unchanged(job)
    _require_open(job)
    settled = ledger.settle(
        account_id=job.account_id,
        app=job.app,
        job_id=job.pk,
        cost_micro=cost,
        actor=caller.actor,
        then=ledger.Consequence(
            _COMPLETE_JOB, {"late": late, "metadata": Jsonb(metadata)}
        ),
    )
    job.status = Job.Status.COMPLETED
    job.actual_cost_micro = cost
    job.metadata = {**job.metadata, **metadata}
    _copy_charge(job, settled, late=late or settled.late)
    if found.owner_listens:
        job_events.write_end(job)
    return Outcome(job, settled.balance)


# The expiry of a late job returned its whole reservation.
_COMPLETE_JOB = """
    UPDATE jobs_job SET status = 'completed', actual_cost_micro = %(cost)s,
      charged_micro = moved.charged_micro, uncovered_micro = moved.uncovered_micro,
      refunded_micro = CASE WHEN moved.late THEN jobs_job.reserved_micro
        ELSE moved.returned_micro END,
      late = %(late)s OR moved.late, metadata = metadata || %(metadata)s,
      settled_at = moved.booked_at
    FROM moved WHERE jobs_job.id = %(job)s AND moved.outcome = 'settled'
"""


@transaction.atomic
def fail(
    *,
    job_id: UUID,
    caller: Caller,
    refund: bool,
    fail_reason: str,
) -> Outcome:
    """End a failed job: return its reservation, or charge it with `refund=False`.

    An expired job moves no credits (`late`). A repeat with the same `refund` changes
    nothing. Raises `JobNotFound`, `TokenBoundToApp`, `HostedApp`, `AppKeyRequired`, and
    `JobNotStarted` for a completed job. Locks the job, then the wallet.
    """
    found = lock(job_id, caller)
    job, late = found.job, found.status == Job.Status.EXPIRED
    if job.status == Job.Status.FAILED and job.refund == refund:
        return _unchanged(job)
    _require_open(job)
    movement: dict[str, Any] = {
        "account_id": job.account_id,
        "app": job.app,
        "job_id": job.pk,
        "actor": caller.actor,
    }
    facts = {"late": late, "refund": refund, "fail_reason": fail_reason}
    if refund or late:
        released = ledger.release(
            **movement, then=ledger.Consequence(_RELEASE_JOB, facts)
        )
        job.late = late or released.expired
        job.refunded_micro = job.reserved_micro
        job.settled_at, balance = released.at, released.balance
    else:
        # A job that expires while this call waits for the wallet is late and free.
        settled = ledger.settle(
            **movement,
            cost_micro=job.reserved_micro,
            only_reserved=True,
            then=ledger.Consequence(_CHARGE_JOB, facts),
        )
        _copy_charge(job, settled, late=settled.late)
        balance = settled.balance
    job.status = Job.Status.FAILED
    job.refund = refund
    job.fail_reason = fail_reason
    if found.owner_listens:
        job_events.write_end(job)
    return Outcome(job, balance)


_RELEASE_JOB = """
    UPDATE jobs_job SET status = 'failed', refund = %(refund)s,
      fail_reason = %(fail_reason)s, refunded_micro = jobs_job.reserved_micro,
      late = %(late)s OR moved.outcome = 'expired', settled_at = moved.booked_at
    FROM moved WHERE jobs_job.id = %(job)s AND moved.outcome <> 'already_resolved'
"""
_CHARGE_JOB = """
    UPDATE jobs_job SET status = 'failed', refund = %(refund)s,
      fail_reason = %(fail_reason)s, charged_micro = moved.charged_micro,
      uncovered_micro = moved.uncovered_micro,
      refunded_micro = CASE WHEN moved.late THEN jobs_job.reserved_micro
        ELSE moved.returned_micro END,
      late = %(late)s OR moved.late, settled_at = moved.booked_at
    FROM moved WHERE jobs_job.id = %(job)s AND moved.outcome = 'settled'
"""


def find(*, job_id: UUID, caller: Caller) -> JobAsOf:
    """Read one of the caller's jobs. Takes one query.

    Raises `JobNotFound`, and `TokenBoundToApp` for a job of another app than the
    credential is bound to.
    """
    return _read_one(_READ, job_id, caller)


def lock(job_id: UUID, caller: Caller) -> JobAsOf:
    """Lock a job that the caller may settle, until the transaction ends.

    Takes one query. Raises as `find`, `HostedApp` and `AppKeyRequired`.
    """
    found = _read_one(_LOCK, job_id, caller)
    if caller.hosted:
        return found
    first_party.refuse(found.job.app)
    by_key_only = found.job.started_by_app or found.job.app.settle_with_app_key_only
    if by_key_only and caller.app_id is None:
        raise AppKeyRequired("Only the app's own key may settle this job.")
    return found


def _read_one(sql: LiteralString, job_id: UUID, caller: Caller) -> JobAsOf:
    found = tuples(
        sql, {"job": job_id, "account": caller.account_id, "app": caller.app_id}
    )
    if not found:
        raise JobNotFound("There is no such job.")
    job, place = instance(Job, found[0])
    job.app, place = instance(App, found[0], place)
    now, owner_listens = found[0][place : place + 2]
    bound = caller.bound_to
    if bound is not None and bound.pk != job.app_id:
        raise TokenBoundToApp(
            f"This credential serves only the jobs of {bound.slug}.", app=bound.slug
        )
    return JobAsOf(job, now, owner_listens)


_READ: LiteralString = f"""
    SELECT {columns(Job, "j")}, {columns(App, "a")}, ledger.now(),
      {outbox.has_endpoint("a.owner_id")}
    FROM jobs_job j JOIN accounts_app a ON a.id = j.app_id
    WHERE j.id = %(job)s
      AND CASE WHEN %(app)s::uuid IS NULL THEN j.account_id = %(account)s
        ELSE j.app_id = %(app)s END
"""  # noqa: S608 — only column names and our own fragment are put in
_LOCK: LiteralString = _READ + " FOR NO KEY UPDATE OF j"


def _require_open(job: Job) -> None:
    if job.status not in (Job.Status.STARTED, Job.Status.EXPIRED):
        raise JobNotStarted(f"The job is already {job.status}.", status=job.status)


def _copy_charge(job: Job, settled: ledger.Settled, *, late: bool) -> None:
    job.charged_micro = settled.charged_micro
    job.refunded_micro = job.reserved_micro if late else settled.returned_micro
    job.uncovered_micro = settled.uncovered_micro
    job.late = late
    job.settled_at = settled.at


def _unchanged(job: Job) -> Outcome:
    balance = ledger.balance(account_id=job.account_id, app_id=job.app_id)
    return Outcome(job, balance, changed=False)
