"""Money in: which plan an account is on. Packs, checkout and Stripe follow here."""
