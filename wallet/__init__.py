"""Who holds how many credits, and why.

`wallet/ledger/` is the only caller of the SQL functions in `wallet/sql/`, and they
are the only writers of wallets, grants, reservations, draws and entries. Rules of other
apps call `wallet.ledger`; nothing here imports `jobs` or `payments`, except doors.
"""
