"""Invariants of grants, draws and reservations, compared with their entries."""

CREDITS: dict[str, str] = {
    "available is what the grants have left": """
        SELECT w.id, format('%s available, grants have %s', w.available_micro,
          coalesce(g.remaining, 0))
        FROM wallets w LEFT JOIN (
          SELECT wallet_id, sum(remaining_micro) AS remaining FROM grants GROUP BY 1
        ) g ON g.wallet_id = w.id
        WHERE w.available_micro <> coalesce(g.remaining, 0)
    """,
    "reserved is what open reservations hold": """
        SELECT w.id, format('%s reserved, open reservations hold %s',
          w.reserved_micro, coalesce(r.held, 0))
        FROM wallets w LEFT JOIN (
          SELECT wallet_id, sum(amount_micro) AS held FROM reservations
          WHERE status = 'open' GROUP BY 1
        ) r ON r.wallet_id = w.id
        WHERE w.reserved_micro <> coalesce(r.held, 0)
    """,
    "a grant has left what no movement drew": """
        SELECT g.wallet_id, format('grant %s: %s granted, %s drawn, %s left',
          g.id, g.granted_micro, coalesce(d.drawn, 0), g.remaining_micro)
        FROM grants g LEFT JOIN (
          SELECT grant_id, sum(amount_micro - returned_micro) AS drawn FROM draws
          GROUP BY 1
        ) d ON d.grant_id = g.id
        WHERE g.remaining_micro <> g.granted_micro - coalesce(d.drawn, 0)
    """,
    "every grant was booked once, in full": """
        SELECT g.wallet_id, format('grant %s of %s has %s entries of %s in all', g.id,
          g.granted_micro, coalesce(e.times, 0), coalesce(e.amount, 0))
        FROM grants g LEFT JOIN (
          SELECT wallet_id, grant_id, count(*) AS times, sum(amount_micro) AS amount
          FROM entries WHERE kind = 'grant' GROUP BY 1, 2
        ) e ON e.wallet_id = g.wallet_id AND e.grant_id = g.id
        WHERE (e.times, e.amount) IS DISTINCT FROM (1, g.granted_micro)
    """,
    "a reservation's draws add up to what it took": """
        SELECT r.wallet_id, format('%s reservation %s of %s drew %s and returned %s,'
          ' its entries returned %s', r.status, r.id, r.amount_micro,
          coalesce(d.drawn, 0), coalesce(d.returned, 0), coalesce(e.returned, 0))
        FROM reservations r LEFT JOIN (
          SELECT reservation_id, sum(amount_micro) AS drawn,
            sum(returned_micro) AS returned
          FROM draws WHERE reservation_id IS NOT NULL GROUP BY 1
        ) d ON d.reservation_id = r.id
        LEFT JOIN (
          SELECT wallet_id, reservation_id, sum(amount_micro) AS returned FROM entries
          WHERE debit = 'reserved' AND credit = 'available' GROUP BY 1, 2
        ) e ON e.wallet_id = r.wallet_id AND e.reservation_id = r.id
        WHERE coalesce(d.drawn, 0) <> r.amount_micro
          OR coalesce(d.returned, 0) <> coalesce(e.returned, 0)
          OR (r.status = 'open' AND d.returned <> 0)
          OR (r.status IN ('released', 'expired') AND d.returned <> r.amount_micro)
    """,
    "a reservation is resolved once, and wholly": """
        SELECT r.wallet_id, format('%s reservation %s of %s: reserved %s, resolved %s'
          ' times, %s left the reservation', r.status, r.id, r.amount_micro,
          coalesce(e.came, 0), coalesce(e.resolved, 0), coalesce(e.went, 0))
        FROM reservations r LEFT JOIN (
          SELECT wallet_id, reservation_id,
            sum(CASE 'reserved' WHEN credit THEN amount_micro ELSE 0 END) AS came,
            sum(CASE 'reserved' WHEN debit THEN amount_micro ELSE 0 END) AS went,
            count(*) FILTER (WHERE resolves) AS resolved
          FROM entries WHERE reservation_id IS NOT NULL GROUP BY 1, 2
        ) e ON e.wallet_id = r.wallet_id AND e.reservation_id = r.id
        WHERE (coalesce(e.came, 0), coalesce(e.resolved, 0), coalesce(e.went, 0))
          IS DISTINCT FROM (r.amount_micro, (r.status <> 'open')::int,
            CASE r.status WHEN 'open' THEN 0 ELSE r.amount_micro END)
    """,
    "a movement drew what it took": """
        SELECT e.wallet_id, format('movement %s took %s and drew %s', e.movement_id,
          e.took, coalesce(d.drawn, 0))
        FROM (
          SELECT wallet_id, movement_id, sum(amount_micro) AS took FROM entries
          WHERE debit = 'available' GROUP BY 1, 2
        ) e LEFT JOIN (
          SELECT movement_id, sum(amount_micro) AS drawn FROM draws GROUP BY 1
        ) d ON d.movement_id = e.movement_id
        WHERE e.took <> coalesce(d.drawn, 0)
    """,
    "an app spends its own and unrestricted grants only": """
        SELECT g.wallet_id, format('movement %s of app %s drew on grant %s, which is'
          ' for app %s', e.movement_id, e.app_id, g.id, g.app_id)
        FROM draws d JOIN grants g ON g.id = d.grant_id
        JOIN entries e ON e.movement_id = d.movement_id AND e.debit = 'available'
        WHERE e.wallet_id <> g.wallet_id OR (g.app_id IS DISTINCT FROM e.app_id
          AND g.app_id IS NOT NULL AND e.kind NOT IN
            ('adjust', 'claw_back', 'repay', 'lapse'))
    """,
}
