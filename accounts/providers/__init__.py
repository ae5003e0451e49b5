"""Identity providers that sign people in (Clerk, Google), and our requests to them."""
