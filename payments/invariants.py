"""Invariants that hold between payments and the ledger, as SQL for the checks."""

from wallet.invariants import OF_ITS_ACCOUNT

TABLES = {
    "payments": ("* FROM payments_payment", OF_ITS_ACCOUNT),
    "pieces": (
        "c.*, p.account_id FROM payments_clawedpiece c"
        " JOIN payments_payment p ON p.id = c.payment_id",
        OF_ITS_ACCOUNT,
    ),
}
# As in `wallet/invariants`: each query returns (wallet_id, detail) of each violation.
INVARIANTS: dict[str, str] = {
    "paid credits have their payment": """
        SELECT e.wallet_id, format('entry %s gave %s paid credits under the key %s, the'
          ' payment says %s', e.seq, e.amount_micro, e.key, p.granted_micro)
        FROM entries e JOIN wallets w ON w.id = e.wallet_id
        JOIN grants g ON g.id = e.grant_id AND g.source <> 'reinstated'
        LEFT JOIN payments p ON e.key = 'payment:' || p.id
          AND p.account_id = w.account_id
        WHERE e.kind = 'grant' AND e.debit = 'stripe'
          AND p.granted_micro IS DISTINCT FROM e.amount_micro
    """,
    "a payment has given its credits": """
        SELECT w.id, format('payment %s gave %s, its entry %s', p.id, p.granted_micro,
          coalesce(e.amount_micro, 0))
        FROM payments p LEFT JOIN wallets w ON w.account_id = p.account_id
        LEFT JOIN entries e ON e.key = 'payment:' || p.id AND e.wallet_id = w.id
          AND e.kind = 'grant' AND e.debit = 'stripe'
        WHERE p.granted_micro <> coalesce(e.amount_micro, 0)
    """,
    "credits go back to Stripe with a payment's money": """
        SELECT e.wallet_id, format('entry %s under the key %s is no piece of a payment',
          e.seq, e.key)
        FROM entries e LEFT JOIN pieces c
          ON split_part(e.key, ':returned', 1)
            = 'payment:' || c.payment_id || ':piece:' || c.id
        WHERE e.kind IN ('claw_back', 'reinstate') AND e.key IS NOT NULL
          AND c.id IS NULL
    """,
}
