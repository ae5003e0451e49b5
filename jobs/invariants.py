"""Invariants that jobs and the ledger must always fulfil together."""

from wallet import invariants

TABLES = {
    "jobs": ("* FROM jobs_job", invariants.OF_ITS_ACCOUNT),
    "uses": ("* FROM jobs_usage", invariants.OF_ITS_ACCOUNT),
    "purchases": ("* FROM jobs_toolpurchase", invariants.OF_ITS_ACCOUNT),
    "consents": (
        "user_id AS account_id, app_id, revoked_at FROM accounts_consent",
        invariants.OF_ITS_ACCOUNT.replace("account_id", "user_id", 1),
    ),
}
# As in `wallet/invariants`, a query yields (wallet_id, detail) for each violation.
INVARIANTS: dict[str, str] = {
    "a job was charged what its entries took": """
        SELECT w.id, format('%s job %s says %s charged, its entries %s', j.status, j.id,
          j.charged_micro, coalesce(e.charged, 0))
        FROM jobs j LEFT JOIN wallets w ON w.account_id = j.account_id
        LEFT JOIN (
          SELECT wallet_id, app_id, job_id, sum(amount_micro) AS charged FROM entries
          WHERE job_id IS NOT NULL AND credit LIKE 'revenue:%' GROUP BY 1, 2, 3
        ) e ON e.job_id = j.id AND e.wallet_id = w.id AND e.app_id = j.app_id
        WHERE j.charged_micro <> coalesce(e.charged, 0)
    """,
    "a job's amounts add up": """
        SELECT w.id, format('%s job %s: reserved %s, cost %s, charged %s, refunded %s,'
          ' uncovered %s', j.status, j.id, j.reserved_micro, j.actual_cost_micro,
          j.charged_micro, j.refunded_micro, j.uncovered_micro)
        FROM jobs j LEFT JOIN wallets w ON w.account_id = j.account_id
        WHERE NOT CASE j.status
          WHEN 'completed' THEN
            j.charged_micro + j.uncovered_micro = j.actual_cost_micro
            AND j.refunded_micro = CASE WHEN j.late THEN j.reserved_micro
              ELSE greatest(0, j.reserved_micro - j.actual_cost_micro) END
          WHEN 'started' THEN j.charged_micro + j.refunded_micro + j.uncovered_micro = 0
          ELSE j.charged_micro + j.refunded_micro = j.reserved_micro
            AND j.uncovered_micro = 0 END
    """,
    "a job's reservation is its own, and in its status": """
        SELECT w.id, format('%s job %s has %s reservation of %s', j.status, j.id,
          coalesce(r.status, 'no'), coalesce(r.amount_micro, 0))
        FROM jobs j LEFT JOIN wallets w ON w.account_id = j.account_id
        LEFT JOIN reservations r ON r.id = j.id AND r.wallet_id = w.id
          AND r.app_id = j.app_id
        WHERE j.reserved_micro <> coalesce(r.amount_micro, 0) OR NOT CASE j.status
          WHEN 'started' THEN coalesce(r.status, 'open') IN ('open', 'expired')
          WHEN 'expired' THEN coalesce(r.status, 'expired') = 'expired'
          WHEN 'completed' THEN coalesce(r.status, 'settled') IN ('settled', 'expired')
          ELSE coalesce(r.status, 'released') IN ('released', 'settled', 'expired') END
    """,
    "usage is what its movement took": """
        SELECT w.id, format('usage %s says %s, its entries %s', u.id, u.amount_micro,
          coalesce(e.amount, 0))
        FROM uses u LEFT JOIN wallets w ON w.account_id = u.account_id
        LEFT JOIN (
          SELECT wallet_id, app_id, movement_id, sum(amount_micro) AS amount
          FROM entries WHERE kind = 'consume' GROUP BY 1, 2, 3
        ) e ON e.movement_id = u.movement_id AND e.wallet_id = w.id
          AND e.app_id = u.app_id
        WHERE u.amount_micro <> coalesce(e.amount, 0)
    """,
    "a paid purchase took its price": """
        SELECT w.id, format('purchase %s cost %s, its entries %s', p.id, p.price_micro,
          coalesce(e.amount_micro, 0))
        FROM purchases p
        LEFT JOIN wallets w ON w.account_id = p.account_id
        LEFT JOIN entries e ON e.wallet_id = w.id AND e.app_id = p.app_id
          AND e.kind = 'consume' AND e.key = 'tool-purchase:' || p.id
        WHERE CASE WHEN p.paid_at IS NULL THEN 0 ELSE p.price_micro END
          <> coalesce(e.amount_micro, 0)
    """,
    "a job's credits are reserved until its own end": """
        SELECT r.wallet_id, format('job %s ends at %s, its reservation at %s', j.id,
          j.expires_at, r.expires_at)
        FROM jobs j JOIN reservations r ON r.id = j.id
        WHERE j.expires_at <> r.expires_at
    """,
    "every consume has its usage or its purchase": """
        SELECT e.wallet_id, format('entry %s of %s under the key %s has neither', e.seq,
          e.amount_micro, e.key)
        FROM entries e
        LEFT JOIN uses u ON u.movement_id = e.movement_id AND u.app_id = e.app_id
          AND e.key = 'consume:' || u.app_id || ':' || CASE
            WHEN length(u.key) > 200 OR u.key LIKE 'sha256:%'
            THEN 'sha256:' || encode(sha256(convert_to(u.key, 'UTF8')), 'hex')
            ELSE u.key END
        LEFT JOIN purchases p ON e.key = 'tool-purchase:' || p.id
          AND p.app_id = e.app_id AND p.paid_at IS NOT NULL
        WHERE e.kind = 'consume' AND u.id IS NULL AND p.id IS NULL
    """,
    "every entry of a job has its job": """
        SELECT e.wallet_id, format('entry %s is of job %s, which is not there', e.seq,
          e.job_id)
        FROM entries e LEFT JOIN jobs j ON j.id = e.job_id AND j.app_id = e.app_id
        WHERE e.job_id IS NOT NULL AND j.id IS NULL
    """,
    "an app takes nothing after its consent ended": """
        SELECT e.wallet_id, format('entry %s of app %s took %s at %s, its consent ended'
          ' at %s', e.seq, e.app_id, e.amount_micro, e.booked_at, c.revoked_at)
        FROM consents c JOIN wallets w ON w.account_id = c.account_id
        JOIN entries e ON e.wallet_id = w.id AND e.app_id = c.app_id
        WHERE e.booked_at > c.revoked_at
          AND e.kind IN ('reserve', 'extend', 'overage', 'overdraft', 'consume')
    """,
    "every reservation has its job": """
        SELECT r.wallet_id, format('%s reservation %s has no job', r.status, r.id)
        FROM reservations r LEFT JOIN jobs j ON j.id = r.id
        WHERE j.id IS NULL
    """,
}
# The ledger's invariants and those of jobs.
ALL = invariants.INVARIANTS | INVARIANTS
