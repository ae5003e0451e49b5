"""Work and its outcome: a job reserves credits, then settles, fails or expires.

Only `jobs/lifecycle.py` writes jobs, and only it asks the ledger to reserve, settle,
release or expire. Whoever must be told of it is told by webhook: `jobs/outbox.py`
writes the events, in the transaction of what they tell of.
"""
