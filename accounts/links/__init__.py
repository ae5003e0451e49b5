"""Accounts at Steam and X that a user links to their Focus account."""
