"""Work and its outcome: a job reserves credits, then settles, fails or expires.

Only `jobs/lifecycle.py` and `jobs/expiry.py` write jobs. Only they ask the ledger to
reserve, settle, release or expire. `jobs/webhooks/outbox.py` writes the events that
inform endpoints, in the transaction of the change they report.
"""
