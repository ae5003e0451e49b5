"""Races on real connections, decided by counting winners."""

import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections, transaction

from focus.errors import DomainError
from focus.models import Failure
from focus.money import MICRO
from jobs import expiry, lifecycle
from jobs.invariants import ALL
from jobs.models import Job
from tests import rewriting
from wallet import invariants, ledger, starters
from wallet.models import Entry, Grant, Reservation

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 8
# These tests call the ledger itself, so its consumes have no usage.
BELOW_USAGE = {name: ALL[name] for name in ALL if not name.startswith("every consume")}


@pytest.fixture(autouse=True)
def _alice_lets_video(alice, video, grant_consent):
    grant_consent(alice, video)


@pytest.fixture(autouse=True)
def _adds_up(transactional_db):
    yield
    assert invariants.violations(among=BELOW_USAGE) == []


def at_once(*calls):
    """Run every call at once, each on its own connection; returns counts by outcome."""
    gate = threading.Barrier(len(calls), timeout=30)

    def run(call):
        try:
            connection.ensure_connection()
            gate.wait()
            return call()
        except DomainError as refusal:
            return refusal.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def start(user, app, amount, **options):
    return lifecycle.start(
        account_id=user.pk,
        app=app,
        action="render",
        estimate_micro=amount * MICRO,
        metadata={},
        actor="test",
        **options,
    ).job


def complete(job, cost):
    return lifecycle.complete(
        job_id=job.pk,
        caller=lifecycle.Caller("test", account_id=job.account_id),
        cost_micro=cost * MICRO,
        metadata={},
    )


def fail(job):
    return lifecycle.fail(
        job_id=job.pk,
        caller=lifecycle.Caller("test", account_id=job.account_id),
        refund=True,
        fail_reason="",
    )


def make_due(job):
    rewriting.make_due(job.pk)


def test_the_last_credit_is_spent_once(alice, video, give):
    for _ in range(ROUNDS):
        give(alice, 1)
        outcomes = at_once(*[lambda: start(alice, video, 1)] * 8)
        assert Counter(map(type, outcomes)) == {Job: 1, str: 7}
        assert set(outcomes) & {"insufficient_credits"} == {"insufficient_credits"}


def test_a_new_wallet_is_made_once(alice, video):
    calls = [
        lambda n=n: ledger.grant(
            account_id=alice.pk,
            amount_micro=MICRO,
            source="promo",
            actor="test",
            key=f"first:{n}",
        )
        for n in range(8)
    ]
    assert len(at_once(*calls)) == 8
    assert ledger.balance(account_id=alice.pk).available_micro == 8 * MICRO


def test_starter_credits_come_once(alice, video):
    def meet():
        starters.record_consent_and_grant(user=alice, app=video, actor="test")

    assert at_once(*[meet] * 12) == [None] * 12
    assert Grant.objects.count() == 1
    assert ledger.balance(account_id=alice.pk).available_micro == 20 * MICRO


def test_settle_against_fail_has_one_winner(alice, video, give):
    seen: Counter[str] = Counter()
    for _ in range(ROUNDS):
        give(alice, 5)
        job = start(alice, video, 5)
        outcomes = at_once(
            lambda job=job: complete(job, 3),
            lambda job=job: fail(job),
        )
        refused = [outcome for outcome in outcomes if outcome == "job_not_started"]
        assert len(refused) == 1
        seen[Job.objects.get(pk=job.pk).status] += 1
        resolving = Entry.objects.filter(reservation_id=job.pk, resolves=True)
        assert resolving.count() == 1
    assert sum(seen.values()) == ROUNDS


def test_two_settlements_at_different_costs_have_one_winner(alice, video, give):
    for _ in range(ROUNDS):
        give(alice, 5)
        job = start(alice, video, 5)
        outcomes = at_once(
            *[lambda cost=cost, job=job: complete(job, cost) for cost in (1, 2, 3, 4)]
        )
        assert outcomes.count("job_not_started") == 3


def test_many_equal_settlements_charge_once(alice, video, give):
    give(alice, 5)
    job = start(alice, video, 5)
    outcomes = at_once(*[lambda: complete(job, 3)] * 8)
    assert {outcome.job.charged_micro for outcome in outcomes} == {3 * MICRO}
    assert ledger.balance(account_id=alice.pk).available_micro == 2 * MICRO


def test_expiry_against_settlement_never_loses_or_doubles_credits(alice, video, give):
    for _ in range(ROUNDS):
        give(alice, 5)
        before = ledger.balance(account_id=alice.pk).available_micro
        job = start(alice, video, 5)
        make_due(job)
        outcomes = at_once(
            lambda job=job: complete(job, 3),
            expiry.expire_due,
            expiry.expire_due,
            lambda: ledger.expire(account_id=alice.pk),
        )
        assert outcomes[0].job.late
        row = Job.objects.get(pk=job.pk)
        assert (row.status, row.charged_micro) == ("completed", 3 * MICRO)
        now = ledger.balance(account_id=alice.pk)
        assert now.available_micro == before - 3 * MICRO


def test_concurrent_sweeps_expire_each_job_once(alice, video, give):
    give(alice, 20)
    jobs = [start(alice, video, 1) for _ in range(12)]
    for job in jobs:
        make_due(job)
    counts = at_once(*[expiry.expire_due] * 4)
    assert sum(counts) == 12
    assert Reservation.objects.filter(status="expired").count() == 12
    assert Entry.objects.filter(kind="expire").count() == 12
    assert ledger.balance(account_id=alice.pk).available_micro == 20 * MICRO


def test_twenty_charges_with_one_money_key_charge_once(alice, video, give):
    give(alice, 20)
    outcomes = at_once(
        *[
            lambda: ledger.consume(
                account_id=alice.pk,
                app=video,
                amount_micro=MICRO,
                actor="test",
                reason="image",
                key="one",
            )
        ]
        * 20
    )
    assert [taken.created for taken in outcomes].count(True) == 1
    assert len({taken.movement_id for taken in outcomes}) == 1


def test_bulk_charges_in_opposite_orders_do_not_deadlock(
    alice, bob, video, give, grant_consent
):
    grant_consent(bob, video)
    give(alice, 100)
    give(bob, 100)

    def charge(users):
        return ledger.consume_many(
            app=video,
            actor="test",
            charges=[
                ledger.Charge(user.pk, MICRO, "image", str(uuid.uuid4()))
                for user in users * 5
            ],
        )

    outcomes = at_once(
        *[lambda: charge([alice, bob]), lambda: charge([bob, alice])] * 4
    )
    assert all(taken.created for answers in outcomes for taken in answers)


def test_one_broken_wallet_stops_no_other_from_expiring(alice, bob, video, give):
    give(alice, 5)
    give(bob, 5)
    jobs = [start(alice, video, 5), start(bob, video, 5)]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE wallet_draw SET returned_micro = 1 WHERE reservation_id = %s",
            [jobs[0].pk],
        )
    for job in jobs:
        make_due(job)
    assert expiry.expire_due() == 1
    assert Job.objects.get(pk=jobs[1].pk).status == "expired"
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE wallet_draw SET returned_micro = 0 WHERE reservation_id = %s",
            [jobs[0].pk],
        )
    # As if the wait after its failure were over.
    Failure.objects.all().delete()
    assert expiry.expire_due() == 1


def test_failing_a_job_that_expires_while_it_waits_moves_nothing(alice, video, give):
    give(alice, 5)
    job = start(alice, video, 5)
    begun, held = threading.Event(), threading.Event()

    def hold_the_wallet():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT id FROM wallet_wallet FOR NO KEY UPDATE")
            held.set()
            begun.wait(60)
            cursor.execute("SELECT pg_sleep(0.5)")
            cursor.execute(
                "UPDATE wallet_reservation SET expires_at = now() - interval '1 s'"
            )

    def fail_it():
        held.wait(60)
        begun.set()
        return lifecycle.fail(
            job_id=job.pk,
            caller=lifecycle.Caller("test", account_id=alice.pk),
            refund=False,
            fail_reason="",
        )

    _, failed = at_once(hold_the_wallet, fail_it)
    assert (failed.job.late, failed.job.charged_micro) == (True, 0)
    # The reservation, its job and its entry have one expiry again.
    make_due(job)
    assert ledger.balance(account_id=alice.pk).available_micro == 5 * MICRO
