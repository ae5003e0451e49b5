"""Corrupt ledger rows with the triggers off, which our code cannot do."""

from typing import Any

from django.db import connection, transaction


@transaction.atomic
def corrupt(sql: str, params: Any = None) -> None:
    """Run a statement with the triggers off. It must change a row."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(sql, params)
        assert cursor.rowcount > 0
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")


@transaction.atomic
def rehash() -> None:
    """Recompute all hashes and heads from the current entries."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("""
            DO $$ DECLARE e wallet_entry; before bytea; wallet bigint := 0; BEGIN
              FOR e IN SELECT * FROM wallet_entry ORDER BY wallet_id, seq LOOP
                IF e.wallet_id <> wallet THEN
                  before := decode(repeat('00', 32), 'hex');
                END IF;
                wallet := e.wallet_id;
                e.prev_hash := before;
                before := ledger.entry_hash(e);
                UPDATE wallet_entry SET prev_hash = e.prev_hash, hash = before
                WHERE id = e.id;
                UPDATE wallet_wallet SET head = before WHERE id = wallet;
              END LOOP;
            END $$
        """)
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")


@transaction.atomic
def make_due(job_id: Any) -> None:
    """Move a job's expiry into the past, in every row that has it."""
    due = "expires_at = now() - interval '1 s' WHERE id = %s"
    with connection.cursor() as cursor:
        for table in ("wallet_reservation", "jobs_job"):
            cursor.execute(f"UPDATE {table} SET {due}", [job_id])
    corrupt(
        "UPDATE wallet_entry e SET terms = ledger.reservation_terms(r.expires_at)"
        " FROM wallet_reservation r WHERE r.id = %s AND e.reservation_id = r.id"
        " AND e.kind = 'reserve'",
        [job_id],
    )
    rehash()
