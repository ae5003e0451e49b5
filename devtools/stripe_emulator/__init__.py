"""An emulator of Stripe on this machine, for developers and tests. No money moves.

A process of its own that implements Stripe's HTTP API on loopback. The official SDK
works with it; only its base URL and secrets differ. The product has no branch for it.
docs/stripe.md describes its use, and where it is simpler than Stripe.

    spec/                     Stripe's published document, cut to the supported part
    state.py                  all objects by id, and the file that keeps them
    catalog … portal.py       one kind of object each, with its operations
    events.py, deliveries.py  events, signed webhooks, and their retries
    api.py, routes.py         API keys, idempotency, paths
    control.py, pages.py      the emulator's own: /_emulator/, hosted pages
"""
