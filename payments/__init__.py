"""Money in: packs, plans, automatic top-ups, and Stripe's events and refunds.

Only `payments/gateway.py` calls Stripe. Paid money becomes credits in `wallet/ledger/`,
once per payment: an event of Stripe is a hint, and Stripe's API has the facts.
"""
