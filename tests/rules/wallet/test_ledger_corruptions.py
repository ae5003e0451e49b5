"""The invariants report each corruption of a ledger that still adds up.

A test makes each corruption with the triggers off and hides its traces. If it changes
an entry, the test computes every later hash and the head anew.
"""

import pytest

from focus.money import MICRO
from jobs import extensions, lifecycle, tool_purchases, usage
from jobs.invariants import ALL
from tests.rewriting import corrupt, rehash
from wallet import invariants, ledger

pytestmark = pytest.mark.django_db


@pytest.fixture
def history(alice, video, tool, give, grant_consent):
    """Grants of each kind, one restricted and one that ends; jobs, one of them
    extended; uses, a purchase.
    """
    grant_consent(alice, video)
    give(alice, 60, only_for=video)
    give(alice, 60)
    ledger.set_budget(account_id=alice.pk, app=video, limit_micro=50 * MICRO)
    ledger.set_overdraft_limit(
        account_id=alice.pk, limit_micro=5 * MICRO, actor="staff:test"
    )
    jobs = [
        lifecycle.start(
            account_id=alice.pk,
            app=video,
            action="render",
            estimate_micro=5 * MICRO,
            metadata={},
            actor=f"user:{alice.pk}",
        ).job
        for _ in range(2)
    ]
    lifecycle.complete(
        job_id=jobs[0].pk,
        caller=lifecycle.Caller(f"user:{alice.pk}", account_id=alice.pk),
        cost_micro=3 * MICRO,
        metadata={},
    )
    extensions.extend(
        job_id=jobs[1].pk,
        caller=lifecycle.Caller(f"user:{alice.pk}", account_id=alice.pk),
        ttl_seconds=7200,
    )
    checkout = tool_purchases.create(user=alice, tool_id=tool.pk)
    tool_purchases.process(user=alice, purchase_id=checkout.pk)
    usage.charge(
        account_id=alice.pk,
        app=tool,
        amount_micro=MICRO,
        reason="one image",
        key="one",
        actor="app:tool",
    )
    whole = lifecycle.start(
        account_id=alice.pk,
        app=tool,
        action="draw",
        estimate_micro=2 * MICRO,
        metadata={},
        actor=f"user:{alice.pk}",
    ).job
    lifecycle.complete(
        job_id=whole.pk,
        caller=lifecycle.Caller(f"user:{alice.pk}", account_id=alice.pk),
        cost_micro=None,
        metadata={},
    )
    assert invariants.violations(among=ALL) == []


OF_EXTENDED = (
    "WHERE kind = 'reserve' AND job_id = (SELECT job_id FROM wallet_entry"
    " WHERE kind = 'extend')"
)
# The extension becomes one of the settled job; both jobs' rows follow their entries.
MOVE_EXTENSION = """
    WITH ends AS (
      SELECT job_id AS open_id, ledger.end_in_terms(terms) AS last,
        (SELECT id FROM wallet_reservation r WHERE r.app_id = e.app_id
          AND r.status = 'settled') AS settled_id,
        (SELECT ledger.end_in_terms(terms) FROM wallet_entry r
          WHERE r.kind = 'reserve' AND r.job_id = e.job_id) AS first
      FROM wallet_entry e WHERE kind = 'extend'
    ), at AS (
      SELECT open_id AS id, timestamptz 'epoch' + first * interval '1 us' AS ends
      FROM ends UNION ALL
      SELECT settled_id, timestamptz 'epoch' + last * interval '1 us' FROM ends
    ), rows AS (
      UPDATE wallet_reservation r SET expires_at = at.ends FROM at WHERE r.id = at.id
    ), jobs AS (
      UPDATE jobs_job j SET expires_at = at.ends FROM at WHERE j.id = at.id
    )
    UPDATE wallet_entry SET job_id = settled_id, reservation_id = settled_id
    FROM ends WHERE kind = 'extend'
"""
# The corruption, and the invariants that report it. `rehash` recomputes the chain.
CORRUPTIONS = {
    "a restricted grant freed": (
        "UPDATE wallet_grant SET app_id = NULL WHERE app_id IS NOT NULL",
        False,
    ),
    "a grant's expiry lifted": (
        "UPDATE wallet_grant SET expires_at = now() + interval '9 years'",
        False,
    ),
    "promotional turned into paid": (
        "UPDATE wallet_grant SET category = 'paid'",
        False,
    ),
    "priority changed": ("UPDATE wallet_grant SET priority = 1", False),
    "the source of a grant changed": (
        "UPDATE wallet_grant SET source = 'refund'",
        False,
    ),
    "a reservation extended beyond its job": (
        "UPDATE wallet_reservation SET expires_at = expires_at + interval '1 day'"
        " WHERE status = 'open'",
        False,
    ),
    "a reservation extended together with its job": (
        "WITH job AS (UPDATE jobs_job SET expires_at = expires_at + interval '1 day'"
        " WHERE status = 'started') UPDATE wallet_reservation"
        " SET expires_at = expires_at + interval '1 day' WHERE status = 'open'",
        False,
    ),
    "an extension beyond 7 days, in every place and rehashed": (
        "WITH r AS (UPDATE wallet_reservation SET expires_at = expires_at"
        " + interval '7 days' WHERE status = 'open' RETURNING id, expires_at),"
        " j AS (UPDATE jobs_job SET expires_at = r.expires_at FROM r"
        " WHERE jobs_job.id = r.id) UPDATE wallet_entry"
        " SET terms = ledger.reservation_terms(r.expires_at) FROM r"
        " WHERE reservation_id = r.id AND kind = 'extend'",
        True,
    ),
    "an extension that shortens, rehashed": (
        f"UPDATE wallet_entry SET terms = 'until 99999999999999999' {OF_EXTENDED}",
        True,
    ),
    "an extension after the expiry, rehashed": (
        f"UPDATE wallet_entry SET terms = 'until 1' {OF_EXTENDED}",
        True,
    ),
    "an extension after the settlement, rehashed": (
        MOVE_EXTENSION,
        True,
    ),
    "an extension with terms that say nothing, rehashed": (
        "UPDATE wallet_entry SET terms = 'until then' WHERE kind = 'extend'",
        True,
    ),
    "an extension turned into another kind and rehashed": (
        "UPDATE wallet_entry SET kind = 'limit' WHERE kind = 'extend'",
        True,
    ),
    "a consent that ended before an extension": (
        "UPDATE accounts_consent c SET revoked_at = e.booked_at - interval '1 us'"
        " FROM wallet_entry e WHERE e.kind = 'extend' AND c.app_id = e.app_id",
        False,
    ),
    "a budget moved to last month": (
        "UPDATE wallet_budget SET spent_micro = 0,"
        " month = (month - interval '1 month')::date",
        False,
    ),
    "a budget moved to next month": (
        "UPDATE wallet_budget SET spent_micro = 0,"
        " month = (month + interval '1 month')::date",
        False,
    ),
    "a budget's limit raised": ("UPDATE wallet_budget SET limit_micro = 10^12", False),
    "a budget removed": ("DELETE FROM wallet_budget", False),
    "what a restricted grant got back moved to an unrestricted one": (
        "WITH settled AS (SELECT d.id, d.grant_id, g.app_id IS NULL AS gets"
        " FROM wallet_draw d JOIN wallet_grant g ON g.id = d.grant_id"
        " JOIN wallet_reservation r ON r.id = d.reservation_id"
        " WHERE r.status = 'settled'), moved AS (UPDATE wallet_draw d"
        " SET returned_micro = CASE WHEN s.gets THEN 2000000 ELSE 0 END"
        " FROM settled s WHERE s.id = d.id) UPDATE wallet_grant g"
        " SET remaining_micro = remaining_micro + CASE WHEN s.gets THEN 2000000"
        " ELSE -2000000 END FROM settled s WHERE s.grant_id = g.id",
        False,
    ),
    "a usage row lost": ("DELETE FROM jobs_usage", False),
    "a purchase lost": ("DELETE FROM jobs_toolpurchase", False),
    "a money key dropped and rehashed": (
        "UPDATE wallet_entry SET key = NULL WHERE kind = 'consume'",
        True,
    ),
    "a money key changed and rehashed": (
        "UPDATE wallet_entry SET key = key || '!' WHERE kind = 'consume'",
        True,
    ),
    "a grant's money key dropped and rehashed": (
        "UPDATE wallet_entry SET key = NULL WHERE kind = 'grant'",
        True,
    ),
    "a job id dropped and rehashed": (
        "UPDATE wallet_entry SET job_id = NULL WHERE kind = 'charge'",
        True,
    ),
    "a job id dropped with its reservation and rehashed": (
        "UPDATE wallet_entry SET job_id = NULL, reservation_id = NULL"
        " WHERE kind = 'charge'",
        True,
    ),
    "the overdraft limit raised": (
        "UPDATE wallet_wallet SET overdraft_limit_micro = 10^12",
        False,
    ),
    "revenue booked to another app and rehashed": (
        "UPDATE wallet_entry SET credit = 'revenue:tool' WHERE kind = 'charge'",
        True,
    ),
    "a charge booked wholly to another app and rehashed": (
        "UPDATE wallet_entry SET credit = 'revenue:tool', app_id = (SELECT id FROM"
        " accounts_app WHERE slug = 'tool') WHERE kind = 'charge'",
        True,
    ),
    "a use booked wholly to another app and rehashed": (
        "UPDATE wallet_entry SET credit = 'revenue:video', app_id = (SELECT id FROM"
        " accounts_app WHERE slug = 'video') WHERE key LIKE 'consume:%'",
        True,
    ),
    "a grant's terms changed in both places, as version 1": (
        "WITH g AS (UPDATE wallet_grant SET priority = 1)"
        " UPDATE wallet_entry SET hash_version = NULL, terms = NULL"
        " WHERE kind = 'grant' AND seq > 1",
        True,
    ),
    "what was said of a charge changed": (
        "UPDATE wallet_text SET said = 'ten images'",
        False,
    ),
    "what was said of a charge lost": ("DELETE FROM wallet_text", False),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_that_adds_up_is_noticed(history, name):
    change, rehashed = CORRUPTIONS[name]
    corrupt(change)
    if rehashed:
        rehash()
    found = {violation.invariant for violation in invariants.violations(among=ALL)}
    assert found
    if rehashed:
        # The chain alone is valid, so another invariant reported it.
        assert "the chain of hashes is whole" not in found
