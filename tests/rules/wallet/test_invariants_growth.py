"""No check of the ledger grows faster than the ledger.

PostgreSQL counts the rows that each step of a plan reads, keeps and drops. Four
times the ledger may mean about four times the rows. Tables are not analyzed, as after
a busy day: a planner that expects one row and meets thousands loops over them.
"""

import json

import pytest
from django.db import connection

from accounts.models import App, User
from focus.money import MICRO
from wallet import invariants, ledger
from wallet.models import Entry, Wallet

pytestmark = pytest.mark.django_db

SMALL, TIMES = 15, 4


@pytest.fixture
def people():
    """Two users; one has four times as many rows of each kind as the other."""
    return [_person(number) for number in (SMALL, SMALL * TIMES)]


@pytest.fixture
def plan():
    """Return the number of rows that the steps of a query's plan handled."""

    def handled(query, wallet):
        with invariants._one_snapshot(connection) as cursor:
            explain = "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) "
            sql = explain + invariants.scoped(query, wallet.pk)
            cursor.execute(sql, {"wallet": wallet.pk})
            (answer,) = cursor.fetchone()
        tree = json.loads(answer) if isinstance(answer, str) else answer
        return _rows(tree[0]["Plan"])

    return handled


def _rows(step):
    own = sum(
        step.get(name, 0)
        for name in (
            "Actual Rows",
            "Rows Removed by Filter",
            "Rows Removed by Join Filter",
            "Rows Removed by Index Recheck",
        )
    )
    return own * step.get("Actual Loops", 1) + sum(map(_rows, step.get("Plans", [])))


def test_a_check_grows_no_faster_than_the_ledger(people, plan):
    assert invariants.violations(among=invariants.EVERY) == []
    entries = [Entry.objects.filter(wallet=wallet).count() for wallet in people]
    assert entries[1] > entries[0] * (TIMES - 1)
    handled = {
        name: [plan(query, wallet) for wallet in people]
        for name, query in {**invariants.EVERY, "quadratic": QUADRATIC}.items()
    }
    too_many = {
        name: rows
        for name, rows in handled.items()
        if rows[1] > rows[0] * TIMES * 1.5 + 200
    }
    assert list(too_many) == ["quadratic"], too_many


# A query that the measure must report.
QUADRATIC = """
    SELECT e.wallet_id, 'seen' FROM entries e WHERE e.amount_micro < (
      SELECT sum(d.amount_micro) FROM draws d WHERE d.amount_micro >= e.amount_micro)
"""


def _person(number):
    """`number` of each: apps with a budget, jobs settled and open, uses, purchases
    clawed back and given back.
    """
    user = User.objects.create(email=f"{number}@example.com")
    ledger.grant(
        account_id=user.pk,
        amount_micro=10**6 * MICRO,
        source="promo",
        actor="test",
        key=f"much:{number}",
    )
    apps = App.objects.bulk_create(
        App(slug=f"app-{number}-{i}", name="App") for i in range(number)
    )
    with connection.cursor() as cursor:
        for app in apps:
            cursor.execute(_MUCH, {"account": user.pk, "app": app.pk, "slug": app.slug})
    return Wallet.objects.get(account=user)


_MUCH = """
    SELECT ledger.set_budget(%(account)s, %(app)s, 1000000000);
    WITH moved AS MATERIALIZED (
      SELECT r.*, n, ids.id FROM (SELECT n, gen_random_uuid() AS id
        FROM generate_series(1, 2) n) ids,
      ledger.reserve(%(account)s, %(app)s, ids.id, 5000000, 3600, 'test', '') r
    )
    INSERT INTO jobs_job (id, account_id, app_id, action, status, reserved_micro,
      charged_micro, refunded_micro, uncovered_micro, late, fail_reason, metadata,
      created_at, expires_at)
    SELECT id, %(account)s, %(app)s, 'render', 'started', 5000000, 0, 0, 0, false, '',
      '{}', now(), expires_at FROM moved;
    WITH job AS (SELECT id FROM jobs_job WHERE app_id = %(app)s LIMIT 1),
    moved AS MATERIALIZED (SELECT job.id, s.* FROM job, ledger.settle(%(account)s,
      %(app)s, %(slug)s, job.id, 3000000, 'cap', 'test', '') s)
    UPDATE jobs_job SET status = 'completed', actual_cost_micro = 3000000,
      charged_micro = 3000000, refunded_micro = 2000000, settled_at = now()
    FROM moved WHERE jobs_job.id = moved.id;
    WITH moved AS MATERIALIZED (SELECT * FROM ledger.take(%(account)s, %(app)s,
      'consume', 'revenue:' || %(slug)s, 1000000, 'test', '',
      format('consume:%%s:one', %(app)s::text)))
    INSERT INTO jobs_usage (account_id, app_id, key, amount_micro, reason, movement_id,
      balance_after_micro, created_at)
    SELECT %(account)s, %(app)s, 'one', 1000000, '', movement_id, 0, now() FROM moved;
    INSERT INTO payments_payment (id, account_id, stripe_session_id, amount_cents,
      granted_micro, taken_back_micro, version)
    VALUES (md5(%(slug)s)::uuid, %(account)s, %(slug)s, 900, 9000000, 4000000, 1);
    SELECT ledger.grant(%(account)s, 'purchase', 'paid', 9000000, 50, NULL, NULL, NULL,
      'stripe', 'test', '', format('payment:%%s', md5(%(slug)s)::uuid));
    WITH piece AS (
      INSERT INTO payments_clawedpiece (payment_id, amount_micro, given_back)
      SELECT md5(%(slug)s)::uuid, 4000000, n = 1 FROM generate_series(1, 2) n
      RETURNING id, payment_id
    )
    SELECT ledger.claw_back(%(account)s, format('payment:%%s', payment_id), 4000000,
      'test', '', format('payment:%%s:piece:%%s', payment_id, id)) FROM piece;
    SELECT ledger.reinstate(%(account)s, key, 'test', '', key || ':returned') FROM (
      SELECT format('payment:%%s:piece:%%s', payment_id, id) AS key
      FROM payments_clawedpiece WHERE payment_id = md5(%(slug)s)::uuid AND given_back
    ) piece;
"""
