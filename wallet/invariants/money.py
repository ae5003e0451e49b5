"""Invariants of claw-backs and budgets, and of credits as a whole."""

MONEY: dict[str, str] = {
    "a purchase lacks what its claw-backs took": """
        SELECT g.wallet_id, format('grant %s of %s says %s clawed back, its claw-backs'
          ' %s', g.id, g.granted_micro, g.clawed_back_micro, coalesce(c.amount, 0))
        FROM grants g LEFT JOIN (
          SELECT grant_id, sum(amount_micro) AS amount FROM claw_backs
          WHERE reinstatement_id IS NULL GROUP BY 1
        ) c ON c.grant_id = g.id
        WHERE g.clawed_back_micro <> coalesce(c.amount, 0)
    """,
    "a claw-back took what it says, and so much was reinstated": """
        SELECT g.wallet_id, format('claw-back %s of %s (%s of it debt): %s taken and %s'
          ' owed by its entries, %s drawn and %s returned, %s reinstated', c.id,
          c.amount_micro, c.debt_micro, e.taken, e.owed, d.drawn, d.returned, b.back)
        FROM claw_backs c JOIN grants g ON g.id = c.grant_id
        LEFT JOIN (
          SELECT wallet_id, movement_id,
            sum(CASE debit WHEN 'available' THEN amount_micro ELSE 0 END) AS taken,
            sum(CASE debit WHEN 'debt' THEN amount_micro ELSE 0 END) AS owed
          FROM entries WHERE kind = 'claw_back' GROUP BY 1, 2
        ) e ON e.wallet_id = g.wallet_id AND e.movement_id = c.movement_id
        LEFT JOIN (
          SELECT wallet_id, movement_id, sum(amount_micro) AS back FROM entries
          WHERE debit = 'stripe' GROUP BY 1, 2
        ) b ON b.wallet_id = g.wallet_id AND b.movement_id = c.reinstatement_id
        LEFT JOIN (
          SELECT claw_back_id, sum(amount_micro) AS drawn,
            sum(returned_micro) AS returned
          FROM draws WHERE claw_back_id IS NOT NULL GROUP BY 1
        ) d ON d.claw_back_id = c.id
        WHERE (coalesce(e.taken, 0), coalesce(e.owed, 0), coalesce(b.back, 0),
            coalesce(d.drawn, 0), coalesce(d.returned, 0)) IS DISTINCT FROM
          (c.amount_micro - c.debt_micro, c.debt_micro,
           CASE WHEN c.reinstatement_id IS NULL THEN 0 ELSE c.amount_micro END,
           c.amount_micro - c.debt_micro,
           CASE WHEN c.reinstatement_id IS NULL THEN 0
             ELSE c.amount_micro - c.debt_micro END)
    """,
    "credits come back only from claw-backs": """
        SELECT e.wallet_id, format('entry %s of %s reinstates no claw-back', e.seq,
          e.amount_micro)
        FROM entries e
        LEFT JOIN claw_backs t ON e.kind = 'claw_back'
          AND t.movement_id = e.movement_id AND t.grant_id = e.grant_id
        LEFT JOIN claw_backs r ON e.kind = 'reinstate'
          AND r.reinstatement_id = e.movement_id AND r.grant_id = e.grant_id
        WHERE e.kind IN ('claw_back', 'reinstate') AND t.id IS NULL AND r.id IS NULL
    """,
    "a budget counts what its month's entries spent": """
        SELECT b.wallet_id, format('budget %s of app %s says %s spent in %s, its'
          ' entries %s', b.id, b.app_id, b.spent_micro, b.month, coalesce(s.spent, 0))
        FROM budgets b LEFT JOIN (
          SELECT e.wallet_id, e.app_id, date_trunc('month',
              coalesce(o.booked_at, e.booked_at) AT TIME ZONE 'UTC')::date AS month,
            sum(CASE e.debit WHEN 'reserved' THEN -e.amount_micro
              ELSE e.amount_micro END) AS spent
          FROM entries e
          JOIN budgets b ON b.wallet_id = e.wallet_id AND b.app_id = e.app_id
          LEFT JOIN entries o ON o.job_id = e.job_id AND o.credit = 'reserved'
            AND e.debit = 'reserved'
          WHERE (e.debit = 'available' AND e.credit = 'reserved')
            OR (e.debit = 'reserved' AND e.credit = 'available')
            OR (e.debit IN ('available', 'debt') AND e.credit LIKE 'revenue:%')
          GROUP BY 1, 2, 3
        ) s ON s.wallet_id = b.wallet_id AND s.app_id = b.app_id AND s.month = b.month
        WHERE b.spent_micro <> coalesce(s.spent, 0)
    """,
    "credits only ever come from outside": """
        SELECT w.id, format('%s came in, %s went out, %s are here',
          coalesce(e.came, 0), coalesce(e.went, 0),
          w.available_micro + w.reserved_micro - w.debt_micro)
        FROM wallets w LEFT JOIN (
          SELECT wallet_id,
            sum(CASE WHEN debit NOT IN ('available', 'reserved', 'debt')
              THEN amount_micro ELSE 0 END) AS came,
            sum(CASE WHEN credit NOT IN ('available', 'reserved', 'debt')
              THEN amount_micro ELSE 0 END) AS went
          FROM entries GROUP BY 1
        ) e ON e.wallet_id = w.id
        WHERE coalesce(e.came, 0) - coalesce(e.went, 0)
          <> w.available_micro + w.reserved_micro - w.debt_micro
    """,
}
