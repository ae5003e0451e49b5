"""Invariants of the terms of grants, reservations and limits.

A row has the terms so that a movement can read them. An entry has them so that the
chain proves them. Entries of version 1 have no terms: `ledger.book_missing_terms` books
the terms of the grants and limits that still matter.
"""

TERMS: dict[str, str] = {
    "a grant is as it was given": """
        SELECT g.wallet_id, format('grant %s is %s, entry %s gave %s', g.id,
          ledger.grant_terms(g.line), e.seq, coalesce(e.terms, 'no terms'))
        FROM grants g JOIN entries e ON e.wallet_id = g.wallet_id
          AND e.grant_id = g.id AND e.kind IN ('grant', 'terms')
        WHERE e.hash_version IS NOT NULL
          AND e.terms IS DISTINCT FROM ledger.grant_terms(g.line)
    """,
    "a reservation ends when it was to end": """
        SELECT r.wallet_id, format('reservation %s ends at %s, entry %s says %s', r.id,
          r.expires_at, e.seq, coalesce(e.terms, 'nothing'))
        FROM reservations r JOIN (
          SELECT DISTINCT ON (wallet_id, reservation_id) wallet_id, reservation_id, seq,
            terms, hash_version
          FROM entries WHERE kind IN ('reserve', 'extend')
          ORDER BY wallet_id, reservation_id, seq DESC
        ) e ON e.wallet_id = r.wallet_id AND e.reservation_id = r.id
        WHERE e.hash_version IS NOT NULL
          AND e.terms IS DISTINCT FROM ledger.reservation_terms(r.expires_at)
    """,
    "an extension lengthens an open reservation, within limits": """
        SELECT wallet_id, format('entry %s at %s extends reservation %s, begun at %s,'
          ' from %s to %s', seq, booked_at, reservation_id, began, before, terms)
        FROM (
          SELECT wallet_id, seq, kind, reservation_id, booked_at, terms,
            first_value(booked_at) OVER own AS began, lag(terms) OVER own AS before,
            bool_or(resolves) OVER own AS resolved
          FROM entries WHERE reservation_id IS NOT NULL
            AND (kind IN ('reserve', 'extend') OR resolves)
          WINDOW own AS (PARTITION BY wallet_id, reservation_id ORDER BY seq)
        ) e
        WHERE kind = 'extend' AND (resolved OR ledger.end_in_terms(terms) IS NULL
          OR ledger.end_in_terms(terms) <= ledger.end_in_terms(before)
          OR ledger.end_in_terms(before) <= extract(epoch FROM booked_at) * 1000000
          OR ledger.end_in_terms(terms) > 1000000 *
            extract(epoch FROM began + ledger.longest_reservation()))
    """,
    "a wallet's overdraft limit was set by an entry": """
        SELECT w.id, format('the limit is %s, the last entry of it says %s',
          w.overdraft_limit_micro, coalesce(e.terms, 'nothing'))
        FROM wallets w LEFT JOIN (
          SELECT DISTINCT ON (wallet_id) wallet_id, terms FROM entries
          WHERE kind = 'limit' AND app_id IS NULL ORDER BY wallet_id, seq DESC
        ) e ON e.wallet_id = w.id
        WHERE ledger.limit_terms(w.overdraft_limit_micro)
          <> coalesce(e.terms, ledger.limit_terms(0))
    """,
    "a budget's limit was set by an entry": """
        SELECT e.wallet_id, format('the budget of app %s is %s, entry %s says %s',
          e.app_id, coalesce(b.limit_micro::text, 'none'), e.seq, e.terms)
        FROM (
          SELECT DISTINCT ON (wallet_id, app_id) wallet_id, app_id, seq, terms
          FROM entries WHERE kind = 'limit' AND app_id IS NOT NULL
          ORDER BY wallet_id, app_id, seq DESC
        ) e LEFT JOIN budgets b ON b.wallet_id = e.wallet_id AND b.app_id = e.app_id
        WHERE ledger.limit_terms(b.limit_micro) <> e.terms
    """,
    "a budget is in the month of its last spending": """
        SELECT b.wallet_id, format('budget %s of app %s is in %s, its app last spent in'
          ' %s', b.id, b.app_id, b.month, e.month)
        FROM budgets b JOIN wallets w ON w.id = b.wallet_id
        LEFT JOIN (
          SELECT wallet_id, app_id, ledger.month(max(booked_at)) AS month FROM entries
          WHERE (debit = 'available' AND credit = 'reserved')
            OR (debit IN ('available', 'debt') AND credit LIKE 'revenue:%')
          GROUP BY 1, 2
        ) e ON e.wallet_id = b.wallet_id AND e.app_id = b.app_id
        WHERE b.month < e.month
          OR b.month > ledger.month(greatest(ledger.now(), w.booked_at))
    """,
    "Stripe pays for paid credits, and for no others": """
        SELECT e.wallet_id, format('entry %s gave %s credits out of %s', e.seq,
          coalesce(g.category, 'no'), e.debit)
        FROM entries e LEFT JOIN grants g ON g.id = e.grant_id
          AND g.wallet_id = e.wallet_id
        WHERE (e.debit = 'stripe' OR e.kind = 'grant') AND NOT coalesce(
          CASE e.kind
            WHEN 'grant' THEN e.debit =
              CASE g.category WHEN 'paid' THEN 'stripe' ELSE 'issuance' END
            WHEN 'reinstate' THEN g.category = 'paid'
            ELSE false END, false)
    """,
    "revenue goes to the entry's own app": """
        SELECT e.wallet_id, format('entry %s of app %s credits %s', e.seq,
          coalesce(a.slug, e.app_id::text, 'none'), e.credit)
        FROM entries e LEFT JOIN accounts_app a ON a.id = e.app_id
        WHERE e.credit LIKE 'revenue:%'
          AND e.credit IS DISTINCT FROM 'revenue:' || a.slug
    """,
    "a reservation serves one app and wallet": """
        SELECT e.wallet_id, format('entry %s of app %s is of reservation %s of app %s'
          ' in wallet %s', e.seq, e.app_id, e.reservation_id, r.app_id, r.wallet_id)
        FROM entries e LEFT JOIN reservations r ON r.id = e.reservation_id
        WHERE e.reservation_id IS NOT NULL
          AND (e.app_id, e.wallet_id) IS DISTINCT FROM (r.app_id, r.wallet_id)
    """,
}
