"""Money in: packs, plans, automatic top-ups, and Stripe's events and refunds.

Only `payments/gateway.py` calls Stripe. Each payment grants its credits once, in
`wallet/ledger/`. Rules read payment state from the Stripe API and treat webhooks as
hints.
"""
