"""Invariants of a wallet's chain of entries, and of the wallet's own row."""

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
        ) e WHERE hash IS DISTINCT FROM own OR prev_hash <> before
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
    "hashes of an older version come first": """
        SELECT wallet_id, format('entry %s has version %s after version %s', seq,
          version, before)
        FROM (
          SELECT wallet_id, seq, coalesce(hash_version, 1) AS version,
            lag(coalesce(hash_version, 1)) OVER (PARTITION BY wallet_id ORDER BY seq)
              AS before
          FROM entries
        ) e WHERE version < before
    """,
    "an entry names what it must": """
        SELECT wallet_id, format('%s entry %s names job %s, reservation %s, grant %s'
          ' and app %s', kind, seq, job_id, reservation_id, grant_id, app_id)
        FROM entries
        WHERE reservation_id <> job_id OR CASE
          WHEN kind IN ('reserve', 'extend', 'charge', 'return', 'release', 'expire')
            THEN reservation_id IS NULL OR job_id IS NULL OR app_id IS NULL
          WHEN kind IN ('overage', 'overdraft') THEN job_id IS NULL OR app_id IS NULL
          WHEN kind = 'consume' THEN app_id IS NULL
          WHEN kind IN ('grant', 'repay', 'lapse', 'claw_back', 'reinstate', 'terms')
            THEN grant_id IS NULL
          ELSE false END
    """,
    "what happens once has a money key": """
        SELECT wallet_id, format('movement %s has no money key', movement_id)
        FROM entries GROUP BY wallet_id, movement_id
        HAVING count(key) = 0 AND (
          bool_or(kind IN ('grant', 'consume', 'adjust', 'claw_back', 'reinstate'))
          OR bool_or(kind IN ('charge', 'return', 'overage', 'overdraft'))
            AND NOT bool_or(resolves))
    """,
    "a settlement's money key is its job's": """
        SELECT wallet_id, format('entry %s of job %s has the key %s', seq, job_id, key)
        FROM entries
        WHERE kind IN ('charge', 'return', 'overage', 'overdraft')
          AND key <> 'settle:' || job_id
    """,
    "a text is what its entries were told": """
        SELECT e.wallet_id, format('text %s of entry %s is another, or gone', e.text_id,
          e.seq)
        FROM entries e LEFT JOIN texts t ON t.id = e.text_id
          AND t.wallet_id = e.wallet_id
        WHERE e.text_id IS NULL <> (e.text_digest IS NULL)
          OR (e.text_id IS NOT NULL AND t.id IS NULL)
          OR ledger.text_digest(t.salt, t.said) <> e.text_digest
    """,
    "a chain contains its anchored heads": """
        SELECT h.wallet_id, format('anchor %s was signed with another entry %s',
          h.anchor_id, h.seq)
        FROM anchored h LEFT JOIN entries e ON e.wallet_id = h.wallet_id
          AND e.seq = h.seq
        WHERE e.hash IS DISTINCT FROM h.head
    """,
}
