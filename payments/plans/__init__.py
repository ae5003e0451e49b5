"""Plans: the catalog, choosing one, its subscription, and the credits of invoices."""
