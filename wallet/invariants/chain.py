"""What must be true of a wallet's entries as a chain, and of the wallet's own row."""

CHAIN: dict[str, str] = {
    "entries are numbered from 1 without a gap": """
        SELECT w.id, format('%s entries, last number %s, wallet says %s',
          count(e.id), coalesce(max(e.seq), 0), w.seq)
        FROM wallets w LEFT JOIN entries e ON e.wallet_id = w.id
        GROUP BY w.id, w.seq
        HAVING count(e.id) <> w.seq OR coalesce(max(e.seq), 0) <> w.seq
          OR coalesce(min(e.seq), 1) <> 1
    """,
    "balances after each entry follow from the entries": """
        SELECT wallet_id, format('entry %s leaves %s available, %s reserved, %s debt;'
          ' its predecessors make %s, %s, %s', seq, available_after, reserved_after,
          debt_after, available, reserved, debt)
        FROM (
          SELECT wallet_id, seq, available_after, reserved_after, debt_after,
            sum(CASE 'available' WHEN credit THEN amount_micro
              WHEN debit THEN -amount_micro ELSE 0 END) OVER run AS available,
            sum(CASE 'reserved' WHEN credit THEN amount_micro
              WHEN debit THEN -amount_micro ELSE 0 END) OVER run AS reserved,
            sum(CASE 'debt' WHEN debit THEN amount_micro
              WHEN credit THEN -amount_micro ELSE 0 END) OVER run AS debt
          FROM entries
          WINDOW run AS (PARTITION BY wallet_id ORDER BY seq
            ROWS UNBOUNDED PRECEDING)
        ) e
        WHERE (available_after, reserved_after, debt_after)
          IS DISTINCT FROM (available, reserved, debt)
    """,
    "the wallet shows what its last entry left": """
        SELECT w.id, format('wallet has %s available, %s reserved, %s debt; entry %s'
          ' left %s, %s, %s', w.available_micro, w.reserved_micro, w.debt_micro, e.seq,
          e.available_after, e.reserved_after, e.debt_after)
        FROM wallets w LEFT JOIN entries e ON e.wallet_id = w.id AND e.seq = w.seq
        WHERE (w.available_micro, w.reserved_micro, w.debt_micro) IS DISTINCT FROM
          (coalesce(e.available_after, 0), coalesce(e.reserved_after, 0),
           coalesce(e.debt_after, 0))
    """,
    "the chain of hashes is whole": """
        SELECT wallet_id, format('entry %s does not follow from its contents and'
          ' its predecessor', seq)
        FROM (
          SELECT wallet_id, seq, hash, prev_hash, ledger.entry_hash(line) AS own,
            lag(hash, 1, decode(repeat('00', 32), 'hex'))
              OVER (PARTITION BY wallet_id ORDER BY seq) AS before
          FROM entries
        ) e WHERE hash <> own OR prev_hash <> before
        UNION ALL
        SELECT w.id, 'the head is not the hash of the last entry'
        FROM wallets w LEFT JOIN entries e ON e.wallet_id = w.id AND e.seq = w.seq
        WHERE w.head <> coalesce(e.hash, decode(repeat('00', 32), 'hex'))
    """,
    "time runs forward along the chain": """
        SELECT wallet_id, format('entry %s was booked before entry %s', seq, seq - 1)
        FROM (
          SELECT wallet_id, seq, booked_at, lag(booked_at)
            OVER (PARTITION BY wallet_id ORDER BY seq) AS before
          FROM entries
        ) e WHERE booked_at < before
    """,
}
