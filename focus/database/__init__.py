"""Django's PostgreSQL backend with a health check of the socket, and raw statements."""
