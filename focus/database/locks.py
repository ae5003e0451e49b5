"""Locks by name, for work that no row's lock can order."""

from typing import LiteralString

from focus.database.statements import tuples


def lock(name: str) -> None:
    """Wait until no other transaction holds the lock `name`, then hold it.

    The lock ends with the caller's transaction. It is an advisory lock of PostgreSQL on
    64 bits of the name, so two names may share one, which only delays. One query. Read
    what the lock protects in a later statement: its snapshot is from after the lock.
    """
    tuples(_LOCK, {"name": name})


_LOCK: LiteralString = "SELECT pg_advisory_xact_lock(hashtextextended(%(name)s, 0))"
