"""Staff pages of packs, plans, payments, top-ups and Stripe's events."""

from payments.admin import books, inbox, shop, topups

__all__ = ["books", "inbox", "shop", "topups"]
