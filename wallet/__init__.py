"""Who holds how many credits, and why.

`wallet/ledger/` is the only caller of the SQL functions in `wallet/sql/`, and they
are the only writers of wallets, grants, reservations, draws and entries. A wallet's
overdraft limit moves no credits: `wallet/adjustments.py` sets it, under the same lock.
"""
