"""Credentials: tokens, keys and JWTs, what each may do, and when each expires."""
