"""Local only: the launcher behind ./dev, the Stripe emulator, demo data."""
