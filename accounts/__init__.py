"""Accounts, their sign-ins and credentials, and the partner apps that use them.

Only this app's rules write its tables. Accounts are closed and never deleted, because
ledger entries refer to them for ever.
"""
