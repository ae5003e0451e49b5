"""Extensions that race with expiry, settlements, failures and each other.

Every call has its own connection. The tests count outcomes and compare the rows.
"""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction

from accounts.partners import consents
from focus.money import MICRO
from jobs import expiry, extensions, lifecycle
from jobs.invariants import ALL
from jobs.models import Job
from tests.processes import until
from tests.rules.wallet.test_permission_races import (
    beside_a_held_wallet,
    on_its_own,
    waiters,
)
from tests.rules.wallet.test_races import at_once, complete, fail, make_due, start
from wallet import invariants, ledger
from wallet.models import Entry, Reservation, Wallet

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 8
REFUSED = "job_not_started"


@pytest.fixture(autouse=True)
def _alice_lets_video(alice, video, grant_consent, give):
    grant_consent(alice, video)
    give(alice, 100)


@pytest.fixture(autouse=True)
def _adds_up(transactional_db):
    yield
    assert invariants.violations(among=ALL) == []


def extend(job, seconds=7200):
    return extensions.extend(
        job_id=job.pk,
        caller=lifecycle.Caller("test", account_id=job.account_id),
        ttl_seconds=seconds,
    )


def seconds_left(job):
    """The seconds from the database's clock until the reservation's end."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM expires_at - clock_timestamp())"
            " FROM wallet_reservation WHERE id = %s",
            [job.pk],
        )
        return float(cursor.fetchone()[0])


def extended(job):
    return Entry.objects.filter(job_id=job.pk, kind="extend").count()


def available(alice):
    return ledger.balance(account_id=alice.pk).available_micro / MICRO


def test_against_a_settlement_it_comes_before_or_is_refused(alice, video):
    seen: Counter[bool] = Counter()
    for _ in range(ROUNDS):
        job = start(alice, video, 5)
        first, settled = at_once(
            lambda job=job: extend(job), lambda job=job: complete(job, 3)
        )
        won = first != REFUSED
        seen[won] += 1
        assert (settled.job.charged_micro, settled.job.late) == (3 * MICRO, False)
        assert extended(job) == won
        assert Entry.objects.filter(job_id=job.pk, resolves=True).count() == 1
    assert seen.total() == ROUNDS
    assert available(alice) == 100 - 3 * ROUNDS


def test_against_a_failure_it_comes_before_or_is_refused(alice, video):
    for _ in range(ROUNDS):
        job = start(alice, video, 5)
        first, failed = at_once(lambda job=job: extend(job), lambda job=job: fail(job))
        assert failed.job.refunded_micro == 5 * MICRO
        assert extended(job) == (first != REFUSED)
        assert Reservation.objects.get(pk=job.pk).status == "released"
    assert available(alice) == 100


def test_of_extensions_at_once_the_latest_end_stands(alice, video):
    for _ in range(ROUNDS):
        job = start(alice, video, 5)
        outcomes = at_once(
            *[
                lambda job=job, hours=hours: extend(job, hours * 3600)
                for hours in (2, 3, 4, 5)
            ]
        )
        changed = [outcome for outcome in outcomes if outcome.changed]
        assert extended(job) == len(changed)
        row = Job.objects.get(pk=job.pk)
        assert row.expires_at == max(outcome.job.expires_at for outcome in outcomes)
        assert row.expires_at == Reservation.objects.get(pk=job.pk).expires_at
        assert 4.9 * 3600 < seconds_left(job) <= 5 * 3600


def test_of_equal_extensions_at_once_none_shortens(alice, video):
    job = start(alice, video, 5)
    outcomes = at_once(*[lambda: extend(job)] * 8)
    assert extended(job) == sum(outcome.changed for outcome in outcomes)
    ends = {outcome.job.expires_at for outcome in outcomes}
    assert Job.objects.get(pk=job.pk).expires_at == max(ends)


def test_a_due_job_is_refused_beside_sweepers_and_a_movement(alice, video):
    """The movement of another job books the expiry before the job's own sweep."""
    for _ in range(ROUNDS):
        job = start(alice, video, 5)
        make_due(job)
        end = Job.objects.get(pk=job.pk).expires_at
        outcomes = at_once(
            lambda job=job: extend(job),
            expiry.expire_due,
            expiry.expire_due,
            lambda: ledger.expire(account_id=alice.pk),
        )
        assert outcomes[0] == REFUSED
        assert extended(job) == 0
        expiry.expire_due()
        row = Job.objects.get(pk=job.pk)
        assert (row.status, row.expires_at) == ("expired", end)
        assert Entry.objects.filter(job_id=job.pk, kind="expire").count() == 1
    assert available(alice) == 100


def test_at_the_moment_of_expiry_each_job_is_either_extended_or_expired(alice, video):
    jobs = [start(alice, video, 1, ttl_seconds=3) for _ in range(16)]

    def wait():
        # Then jobs fall due during the calls, the first ones first.
        time.sleep(max(0, seconds_left(jobs[4]) - 0.05))

    def extend_some(part):
        wait()
        return [tried(job) for job in part]

    def sweep():
        wait()
        for _ in range(20):
            expiry.expire_due()

    outcomes = at_once(
        *[lambda part=jobs[n::4][::-1]: extend_some(part) for n in range(4)],
        sweep,
        sweep,
    )
    expiry.expire_due()
    by_job = {pk: said for part in outcomes[:4] for pk, said in part}
    assert len(by_job) == 16
    for job in jobs:
        stands = by_job[job.pk] != REFUSED
        assert extended(job) == stands
        row = Job.objects.get(pk=job.pk)
        assert row.status == ("started" if stands else "expired")
        assert Reservation.objects.get(pk=job.pk).status == (
            "open" if stands else "expired"
        )
    standing = sum(said != REFUSED for said in by_job.values())
    assert available(alice) == 100 - standing


def tried(job):
    """The job's id, and the outcome of extending it."""
    try:
        return job.pk, extend(job)
    except lifecycle.JobNotStarted as refusal:
        return job.pk, refusal.code


def test_a_sweeper_that_waits_for_an_extension_leaves_the_job(alice, video):
    job = start(alice, video, 5, ttl_seconds=3)
    done, go_on = threading.Event(), threading.Event()

    def extend_slowly():
        with transaction.atomic():
            extend(job)
            done.set()
            go_on.wait(60)

    with ThreadPoolExecutor(2) as pool:
        extending = pool.submit(on_its_own, extend_slowly)
        assert done.wait(60)
        # The committed row, which this connection still sees, falls due.
        until(lambda: seconds_left(job) < 0)
        sweeping = pool.submit(on_its_own, expiry.expire_due)
        until(lambda: waiters() == 1)
        go_on.set()
        extending.result(60)
        assert sweeping.result(60) == 0
    assert Job.objects.get(pk=job.pk).status == "started"
    assert seconds_left(job) > 7000
    assert available(alice) == 95


def test_an_extension_that_waits_until_the_job_expires_is_refused(alice, video):
    """Not the time of the request decides, but the time under the wallet's lock."""
    job = start(alice, video, 5, ttl_seconds=3)
    end = job.expires_at
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            Wallet.objects.select_for_update(no_key=True).get(account=alice)
            waiting = pool.submit(on_its_own, lambda: extend(job))
            until(lambda: waiters() == 1)
            assert seconds_left(job) > 0
            until(lambda: seconds_left(job) < 0)
        assert waiting.result(60) == REFUSED
    assert extended(job) == 0
    assert Job.objects.get(pk=job.pk).expires_at == end
    assert Reservation.objects.get(pk=job.pk).expires_at == end
    assert available(alice) == 100


def test_an_extension_that_waited_sees_the_end_of_the_consent(alice, video):
    job = start(alice, video, 5)
    outcome = beside_a_held_wallet(
        alice,
        lambda: extend(job),
        lambda: consents.revoke(user=alice, app_id=video.pk),
    )
    assert outcome == "app_not_granted"
    assert extended(job) == 0
    assert Job.objects.get(pk=job.pk).expires_at == job.expires_at


def test_extensions_beside_settlements_of_other_jobs_do_not_deadlock(alice, video):
    jobs = [start(alice, video, 1) for _ in range(8)]
    outcomes = at_once(
        *[lambda job=job: extend(job) for job in jobs[:4]],
        *[lambda job=job: complete(job, 1) for job in jobs[4:]],
    )
    assert all(not isinstance(outcome, str) for outcome in outcomes)
    assert [extended(job) for job in jobs] == [1] * 4 + [0] * 4
