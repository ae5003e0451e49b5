"""Which run is next: accounts take turns, and one account has one run at a time.

An account with a run in work comes after those that only wait. Among equals, the next
account is the one that has waited longest since the start of its latest run. So an
account with one photo waits for at most one run of each other account, however many
they have.
"""

from collections.abc import Collection, Iterable
from typing import LiteralString
from uuid import UUID

from focus.database import locks
from focus.database.statements import tuples
from jobs.models import Run

# One row for each waiting account: how many of its runs are due, and its next one.
_ACCOUNTS: LiteralString = """
    WITH due AS (
      SELECT id, account_id, due_at, row_number() OVER (
        PARTITION BY account_id ORDER BY tries, due_at, id) AS place
      FROM jobs_run
      WHERE due_at <= statement_timestamp() AND kind = ANY(%(kinds)s)
    ), busy AS (
      SELECT account_id FROM jobs_run
      WHERE due_at > statement_timestamp() AND state = 'running' GROUP BY account_id
    ), latest AS (
      SELECT d.account_id, r.started_at FROM due d
      CROSS JOIN LATERAL (
        SELECT max(x.started_at) AS started_at FROM (
          SELECT started_at FROM jobs_run
          WHERE account_id = d.account_id AND started_at IS NOT NULL
          ORDER BY created_at DESC LIMIT 20) x
      ) r WHERE d.place = 1
    ), account AS (
      SELECT d.account_id, d.id AS head, l.started_at,
        b.account_id IS NOT NULL AS is_busy, d.due_at,
        row_number() OVER (ORDER BY b.account_id IS NOT NULL,
          l.started_at NULLS FIRST, d.due_at, d.id) AS turn
      FROM due d JOIN latest l USING (account_id) LEFT JOIN busy b USING (account_id)
      WHERE d.place = 1
    )
"""
_NEXT: LiteralString = f"""
    {_ACCOUNTS}
    SELECT head FROM account ORDER BY turn LIMIT 20
"""  # noqa: S608 — only our own fragment is put in
# In each round every account takes one run. A run in place 3 waits for two rounds, and
# then for the accounts that come before its own.
_BEFORE: LiteralString = f"""
    {_ACCOUNTS}
    SELECT mine.id, sum(least(n.runs, mine.place - (a.turn >= mine.turn)::int))
    FROM (SELECT d.id, d.place, a.turn FROM due d
          JOIN account a USING (account_id) WHERE d.id = ANY(%(runs)s)) mine
    CROSS JOIN account a
    JOIN (SELECT account_id, count(*) AS runs FROM due GROUP BY account_id) n
      ON n.account_id = a.account_id
    GROUP BY mine.id
"""  # noqa: S608 — only our own fragment is put in


def take() -> None:
    """Wait for the lock under which a worker chooses a run. Ends with the transaction.

    Two workers that chose at the same time could both take a run of one account.
    """
    locks.lock("hosted runs: turns")


def upcoming(kinds: Collection[str]) -> list[UUID]:
    """Return the next run of each of the first 20 accounts, in their order."""
    return [row[0] for row in tuples(_NEXT, {"kinds": list(kinds)})]


def before(runs: Iterable[Run], kinds: Collection[str]) -> dict[UUID, int]:
    """Return how many waiting runs come before each of `runs`, by its id. One query.

    A run that waits for nothing, such as one that has ended, has 0 before it.
    """
    ids = [run.pk for run in runs]
    counted = tuples(_BEFORE, {"kinds": list(kinds), "runs": ids})
    return {**dict.fromkeys(ids, 0), **{pk: int(count) for pk, count in counted}}
