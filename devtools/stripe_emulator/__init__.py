"""Stripe on this machine, for developers and tests. No money moves.

A process of its own that speaks Stripe's HTTP protocol on loopback, so that the
official SDK works with nothing changed but its base address and secrets. The product
has no branch for it. docs/stripe.md says how to use it and where it is simpler.

    spec/                     Stripe's published document, cut to what is spoken here
    state.py                  every object, by id, and the file they are kept in
    catalog … portal.py       one kind of object each: what may happen to it
    events.py, deliveries.py  what is told to the product, signed, and retried
    api.py, routes.py         keys, idempotency, addresses
    control.py, pages.py      what only an emulator has: /_emulator/, hosted pages
"""
