"""Who is calling: people, sessions, partner apps and their keys, devices, tokens.

Only this app's rules write its tables. Accounts are closed, never deleted: the
ledger refers to them for ever.
"""
