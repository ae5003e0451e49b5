"""What must always be true of the ledger, each as one query that finds who breaks it.

Everything is recomputed from the entries, grants, draws and reservations; nothing
trusts a stored balance. `manage.py check_ledger`, beat and the tests all run these.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from django.db import connection, transaction


@dataclass(frozen=True)
class Violation:
    """One wallet that breaks one invariant, with the numbers that disagree."""

    invariant: str
    wallet_id: int
    account_id: UUID
    detail: str

    def __str__(self) -> str:
        who = f"wallet {self.wallet_id} (account {self.account_id})"
        return f"{self.invariant}: {who}: {self.detail}"


# Each query yields (wallet_id, detail) and no row when all is well.
INVARIANTS: dict[str, str] = {
    "entries are numbered from 1 without a gap": """
        SELECT w.id, format('%s entries, last number %s, wallet says %s',
          count(e.id), coalesce(max(e.seq), 0), w.seq)
        FROM wallet_wallet w LEFT JOIN wallet_entry e ON e.wallet_id = w.id
        GROUP BY w.id
        HAVING count(e.id) <> w.seq OR coalesce(max(e.seq), 0) <> w.seq
          OR coalesce(min(e.seq), 1) <> 1
    """,
    "balances after each entry follow from the entries": """
        SELECT wallet_id, format('entry %s leaves %s available, %s reserved, %s debt;'
          ' its predecessors make %s, %s, %s', seq, available_after, reserved_after,
          debt_after, available, reserved, debt)
        FROM (
          SELECT *,
            sum(CASE 'available' WHEN credit THEN amount_micro
              WHEN debit THEN -amount_micro ELSE 0 END) OVER run AS available,
            sum(CASE 'reserved' WHEN credit THEN amount_micro
              WHEN debit THEN -amount_micro ELSE 0 END) OVER run AS reserved,
            sum(CASE 'debt' WHEN debit THEN amount_micro
              WHEN credit THEN -amount_micro ELSE 0 END) OVER run AS debt
          FROM wallet_entry
          WINDOW run AS (PARTITION BY wallet_id ORDER BY seq)
        ) e
        WHERE (available_after, reserved_after, debt_after)
          IS DISTINCT FROM (available, reserved, debt)
    """,
    "the wallet shows what its last entry left": """
        SELECT w.id, format('wallet has %s available, %s reserved, %s debt; entry %s'
          ' left %s, %s, %s', w.available_micro, w.reserved_micro, w.debt_micro, e.seq,
          e.available_after, e.reserved_after, e.debt_after)
        FROM wallet_wallet w LEFT JOIN LATERAL (
          SELECT * FROM wallet_entry WHERE wallet_id = w.id ORDER BY seq DESC LIMIT 1
        ) e ON true
        WHERE (w.available_micro, w.reserved_micro, w.debt_micro) IS DISTINCT FROM
          (coalesce(e.available_after, 0), coalesce(e.reserved_after, 0),
           coalesce(e.debt_after, 0))
    """,
    "the chain of hashes is whole": """
        SELECT e.wallet_id, format('entry %s does not follow from its contents and'
          ' its predecessor', e.seq)
        FROM (
          SELECT wallet_id, seq, hash, prev_hash,
            ledger.entry_hash(wallet_entry) AS own,
            lag(hash, 1, decode(repeat('00', 32), 'hex'))
              OVER (PARTITION BY wallet_id ORDER BY seq) AS before
          FROM wallet_entry
        ) e WHERE e.hash <> e.own OR e.prev_hash <> e.before
        UNION ALL
        SELECT w.id, 'the head is not the hash of the last entry'
        FROM wallet_wallet w LEFT JOIN LATERAL (
          SELECT hash FROM wallet_entry WHERE wallet_id = w.id ORDER BY seq DESC LIMIT 1
        ) e ON true
        WHERE w.head <> coalesce(e.hash, decode(repeat('00', 32), 'hex'))
    """,
    "time runs forward along the chain": """
        SELECT wallet_id, format('entry %s was booked before entry %s', seq, seq - 1)
        FROM (
          SELECT wallet_id, seq, booked_at, lag(booked_at)
            OVER (PARTITION BY wallet_id ORDER BY seq) AS before
          FROM wallet_entry
        ) e WHERE booked_at < before
    """,
    "available is what the grants have left": """
        SELECT w.id, format('%s available, grants have %s', w.available_micro,
          coalesce(sum(g.remaining_micro), 0))
        FROM wallet_wallet w LEFT JOIN wallet_grant g ON g.wallet_id = w.id
        GROUP BY w.id
        HAVING w.available_micro <> coalesce(sum(g.remaining_micro), 0)
    """,
    "reserved is what open reservations hold": """
        SELECT w.id, format('%s reserved, open reservations hold %s',
          w.reserved_micro, coalesce(sum(r.amount_micro), 0))
        FROM wallet_wallet w
        LEFT JOIN wallet_reservation r ON r.wallet_id = w.id AND r.status = 'open'
        GROUP BY w.id
        HAVING w.reserved_micro <> coalesce(sum(r.amount_micro), 0)
    """,
    "a grant has left what nobody drew": """
        SELECT g.wallet_id, format('grant %s: %s granted, %s drawn, %s left',
          g.id, g.granted_micro, coalesce(sum(d.amount_micro - d.returned_micro), 0),
          g.remaining_micro)
        FROM wallet_grant g LEFT JOIN wallet_draw d ON d.grant_id = g.id
        GROUP BY g.id
        HAVING g.remaining_micro <>
          g.granted_micro - coalesce(sum(d.amount_micro - d.returned_micro), 0)
    """,
    "every grant was booked once, in full": """
        SELECT g.wallet_id, format('grant %s of %s has %s entries of %s in all', g.id,
          g.granted_micro, count(e.id), coalesce(sum(e.amount_micro), 0))
        FROM wallet_grant g
        LEFT JOIN wallet_entry e ON e.grant_id = g.id AND e.kind = 'grant'
          AND e.wallet_id = g.wallet_id
        GROUP BY g.id
        HAVING count(e.id) <> 1 OR sum(e.amount_micro) <> g.granted_micro
    """,
    "a reservation's draws add up to what it took": """
        SELECT r.wallet_id, format('%s reservation %s of %s drew %s and returned %s',
          r.status, r.id, r.amount_micro, coalesce(sum(d.amount_micro), 0),
          coalesce(sum(d.returned_micro), 0))
        FROM wallet_reservation r LEFT JOIN wallet_draw d ON d.reservation_id = r.id
        GROUP BY r.id
        HAVING coalesce(sum(d.amount_micro), 0) <> r.amount_micro
          OR (r.status = 'open' AND sum(d.returned_micro) <> 0)
          OR (r.status IN ('released', 'expired')
              AND sum(d.returned_micro) <> r.amount_micro)
    """,
    "a reservation is resolved once, and wholly": """
        SELECT r.wallet_id, format('%s reservation %s of %s: reserved %s, resolved %s'
          ' times, %s left the reservation', r.status, r.id, r.amount_micro,
          coalesce(sum(e.amount_micro) FILTER (WHERE e.credit = 'reserved'), 0),
          count(*) FILTER (WHERE e.resolves),
          coalesce(sum(e.amount_micro) FILTER (WHERE e.debit = 'reserved'), 0))
        FROM wallet_reservation r
        LEFT JOIN wallet_entry e
          ON e.reservation_id = r.id AND e.wallet_id = r.wallet_id
        GROUP BY r.id
        HAVING coalesce(sum(e.amount_micro) FILTER (WHERE e.credit = 'reserved'), 0)
            <> r.amount_micro
          OR count(*) FILTER (WHERE e.resolves) <> (r.status <> 'open')::int
          OR coalesce(sum(e.amount_micro) FILTER (WHERE e.debit = 'reserved'), 0)
            <> CASE r.status WHEN 'open' THEN 0 ELSE r.amount_micro END
    """,
    "a movement drew what it took": """
        SELECT wallet_id, format('movement %s took %s and drew %s', movement_id, took,
          drew)
        FROM (
          SELECT e.wallet_id, e.movement_id, sum(e.amount_micro) AS took,
            coalesce((SELECT sum(d.amount_micro) FROM wallet_draw d
              WHERE d.movement_id = e.movement_id), 0) AS drew
          FROM wallet_entry e WHERE e.debit = 'available'
          GROUP BY e.wallet_id, e.movement_id
        ) m WHERE took <> drew
    """,
    "an app spends its own and unrestricted grants only": """
        SELECT g.wallet_id, format('movement %s of app %s drew on grant %s, which is'
          ' for app %s', e.movement_id, e.app_id, g.id, g.app_id)
        FROM wallet_draw d JOIN wallet_grant g ON g.id = d.grant_id
        JOIN wallet_entry e ON e.movement_id = d.movement_id AND e.debit = 'available'
        WHERE e.wallet_id <> g.wallet_id OR (g.app_id IS DISTINCT FROM e.app_id
          AND g.app_id IS NOT NULL AND e.kind NOT IN
            ('adjust', 'claw_back', 'repay', 'lapse'))
    """,
    "a purchase lacks what its claw-backs took": """
        SELECT g.wallet_id, format('grant %s of %s says %s clawed back, its claw-backs'
          ' %s', g.id, g.granted_micro, g.clawed_back_micro,
          coalesce(sum(c.amount_micro) FILTER (WHERE c.reinstatement_id IS NULL), 0))
        FROM wallet_grant g LEFT JOIN wallet_clawback c ON c.grant_id = g.id
        GROUP BY g.id
        HAVING g.clawed_back_micro <>
          coalesce(sum(c.amount_micro) FILTER (WHERE c.reinstatement_id IS NULL), 0)
    """,
    "a claw-back took what it says, and so much was reinstated": """
        SELECT g.wallet_id, format('claw-back %s of %s (%s of it debt): %s taken and %s'
          ' owed by its entries, %s drawn and %s returned, %s reinstated', c.id,
          c.amount_micro, c.debt_micro, e.taken, e.owed, d.drawn, d.returned, e.back)
        FROM wallet_clawback c JOIN wallet_grant g ON g.id = c.grant_id
        LEFT JOIN LATERAL (
          SELECT
            coalesce(sum(amount_micro) FILTER (WHERE kind = 'claw_back'
              AND debit = 'available'), 0) AS taken,
            coalesce(sum(amount_micro) FILTER (WHERE kind = 'claw_back'
              AND debit = 'debt'), 0) AS owed,
            coalesce(sum(amount_micro) FILTER (WHERE debit = 'stripe'), 0) AS back
          FROM wallet_entry WHERE wallet_id = g.wallet_id
            AND movement_id IN (c.movement_id, c.reinstatement_id)
        ) e ON true
        LEFT JOIN LATERAL (
          SELECT coalesce(sum(amount_micro), 0) AS drawn,
            coalesce(sum(returned_micro), 0) AS returned
          FROM wallet_draw WHERE claw_back_id = c.id
        ) d ON true
        WHERE (e.taken, e.owed, e.back, d.drawn, d.returned) IS DISTINCT FROM
          (c.amount_micro - c.debt_micro, c.debt_micro,
           CASE WHEN c.reinstatement_id IS NULL THEN 0 ELSE c.amount_micro END,
           c.amount_micro - c.debt_micro,
           CASE WHEN c.reinstatement_id IS NULL THEN 0
             ELSE c.amount_micro - c.debt_micro END)
    """,
    "credits come back only from claw-backs": """
        SELECT e.wallet_id, format('entry %s of %s reinstates no claw-back', e.seq,
          e.amount_micro)
        FROM wallet_entry e
        WHERE e.kind IN ('claw_back', 'reinstate') AND NOT EXISTS (
          SELECT FROM wallet_clawback c WHERE c.grant_id = e.grant_id
            AND e.movement_id = CASE e.kind WHEN 'claw_back' THEN c.movement_id
              ELSE c.reinstatement_id END)
    """,
    "a budget counts what its month's entries spent": """
        SELECT b.wallet_id, format('budget %s of app %s says %s spent in %s, its'
          ' entries %s', b.id, b.app_id, b.spent_micro, b.month, s.spent)
        FROM wallet_budget b JOIN accounts_app a ON a.id = b.app_id
        CROSS JOIN LATERAL (
          SELECT coalesce(sum(CASE e.debit WHEN 'reserved' THEN -e.amount_micro
            ELSE e.amount_micro END), 0) AS spent
          FROM wallet_entry e LEFT JOIN wallet_entry o ON o.job_id = e.job_id
            AND o.credit = 'reserved' AND e.debit = 'reserved'
          WHERE e.wallet_id = b.wallet_id AND e.app_id = b.app_id
            AND (e.debit, e.credit) IN (('available', 'reserved'),
              ('reserved', 'available'), ('available', 'revenue:' || a.slug),
              ('debt', 'revenue:' || a.slug))
            AND date_trunc('month', coalesce(o.booked_at, e.booked_at)
              AT TIME ZONE 'UTC') = b.month
        ) s WHERE b.spent_micro <> s.spent
    """,
    "credits only ever come from outside": """
        SELECT w.id, format('%s came in, %s went out, %s are here', coalesce(sum(
          e.amount_micro) FILTER (WHERE e.debit NOT IN ('available', 'reserved')), 0),
          coalesce(sum(e.amount_micro)
            FILTER (WHERE e.credit NOT IN ('available', 'reserved')), 0),
          w.available_micro + w.reserved_micro - w.debt_micro)
        FROM wallet_wallet w LEFT JOIN wallet_entry e ON e.wallet_id = w.id
        GROUP BY w.id
        HAVING coalesce(sum(CASE
            WHEN e.debit IN ('available', 'reserved', 'debt')
              AND e.credit IN ('available', 'reserved', 'debt') THEN 0
            WHEN e.debit IN ('available', 'reserved', 'debt') THEN -e.amount_micro
            WHEN e.credit IN ('available', 'reserved', 'debt') THEN e.amount_micro
            ELSE 0 END), 0)
          <> w.available_micro + w.reserved_micro - w.debt_micro
    """,
}


def violations(
    wallet_id: int | None = None, *, among: Mapping[str, str] = INVARIANTS
) -> list[Violation]:
    """Every broken invariant of every wallet, or of one wallet.

    Reads one snapshot and locks nothing, however long it takes.
    """
    names, one = list(among), "" if wallet_id is None else "WHERE w.id = %(wallet)s"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        # One statement for all of them: a movement in between would look like drift.
        cursor.execute(_as_one(among, one), {"wallet": wallet_id})
        return [
            Violation(names[number], wallet, account, detail)
            for number, wallet, account, detail in cursor.fetchall()
        ]


def _as_one(among: Mapping[str, str], one: str) -> str:
    parts = " UNION ALL ".join(
        f"SELECT {number} AS number, q.* FROM ({query}) AS q(wallet_id, detail)"
        for number, query in enumerate(among.values())
    )
    # The queries are full of format()'s own percent signs.
    return f"""
        SELECT v.number, v.wallet_id, w.account_id, v.detail
        FROM ({parts.replace("%", "%%")}) v JOIN wallet_wallet w ON w.id = v.wallet_id
        {one} ORDER BY v.number, v.wallet_id
    """
