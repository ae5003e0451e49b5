"""Outgoing webhooks: endpoints, events, deliveries and their retries.

This package depends on accounts and on focus only, never on jobs or credits.
"""
