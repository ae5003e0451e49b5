"""Identity providers that sign users in (Clerk, Google), and our requests to them."""
