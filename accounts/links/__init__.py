"""Accounts at Steam and X that a person links to their own."""
