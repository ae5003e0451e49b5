"""Checks of one wallet by a worker: seen while they run, and finished by another."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections

from wallet import invariants, verifications
from wallet.models import Verification, Wallet

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def wallet(alice, give):
    give(alice, 5)
    return Wallet.objects.get()


def test_asking_twice_asks_once(wallet):
    first = verifications.request(wallet=wallet, actor="staff")
    assert verifications.request(wallet=wallet, actor="staff").pk == first.pk
    assert verifications.run_due() == 1
    assert verifications.run_due() == 0
    assert verifications.request(wallet=wallet, actor="staff").pk != first.pk


def test_it_says_what_it_found(wallet):
    verifications.request(wallet=wallet, actor="staff")
    verifications.run_due()
    row = Verification.objects.get()
    assert (row.broken, row.found, row.percent, row.entries) == (0, [], 100, 1)
    assert row.steps == len(invariants.EVERY)
    Wallet.objects.update(available_micro=1)
    verifications.request(wallet=wallet, actor="staff")
    verifications.run_due()
    latest = verifications.latest(wallet=wallet)
    assert latest is not None
    row = latest
    assert row.broken == len(row.found) > 0
    assert any(told.startswith("the wallet shows what") for told in row.found)


def test_each_step_is_seen_by_others_while_the_check_runs(wallet, monkeypatch):
    seen = []
    check = invariants.violations

    def watched(*args, on_step, **options):
        def step(number):
            on_step(number)
            # Another connection, as a page has.
            with ThreadPoolExecutor(1) as pool:
                seen.append(pool.submit(progress).result())

        return check(*args, on_step=step, **options)

    def progress():
        try:
            return Verification.objects.get().step
        finally:
            connections.close_all()

    monkeypatch.setattr(invariants, "violations", watched)
    verifications.request(wallet=wallet, actor="staff")
    verifications.run_due()
    assert seen == list(range(1, len(invariants.EVERY) + 1))


def test_one_that_a_killed_worker_left_is_begun_anew_after_its_lease(wallet):
    verifications.request(wallet=wallet, actor="staff")
    dead = verifications._claim()
    assert dead is not None
    Verification.objects.update(step=3)
    # The worker is gone. Within the lease no other takes it.
    assert verifications.run_due() == 0
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE wallet_verification SET due_at = due_at - interval '60 s'"
        )
    assert verifications.run_due() == 1
    row = Verification.objects.get()
    assert (row.attempt, row.broken, row.percent) == (2, 0, 100)
    # Should it live after all, it writes no more.
    assert verifications._run(dead, invariants.EVERY) is False
    assert Verification.objects.get().attempt == 2


def test_a_worker_that_lost_its_check_stops_at_the_next_step(wallet):
    verifications.request(wallet=wallet, actor="staff")
    stalled = verifications._claim()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE wallet_verification SET due_at = now()")
    second = verifications._claim()
    assert stalled is not None
    assert second is not None
    assert verifications._run(stalled, invariants.EVERY) is False
    row = Verification.objects.get()
    assert (row.lease, row.step, row.attempt) == (second.lease, 0, 2)
    assert verifications._run(second, invariants.EVERY) is True


def test_many_workers_check_it_once(wallet):
    verifications.request(wallet=wallet, actor="staff")
    gate = threading.Barrier(4, timeout=30)

    def work():
        try:
            connection.ensure_connection()
            gate.wait()
            return verifications.run_due()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        done = [future.result() for future in [pool.submit(work) for _ in range(4)]]
    assert sum(done) == 1
    assert Verification.objects.get().attempt == 1
