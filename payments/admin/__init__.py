"""Staff's view of money in: what is for sale, what was paid, what Stripe told us."""

from payments.admin import books, inbox, shop, topups

__all__ = ["books", "inbox", "shop", "topups"]
