"""Outgoing webhooks: endpoints, events, deliveries and their retries.

This package knows accounts and the ground only, never jobs or credits.
"""
