"""Counting what is asked of the database, by the ORM and by hand alike."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import psycopg


@contextmanager
def statements() -> Iterator[list[str]]:
    """Every statement run meanwhile. Django's own log misses hand-written ones."""
    seen: list[str] = []
    execute = psycopg.Cursor.execute

    def noting(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(str(query))
        return execute(self, query, *args, **kwargs)

    with mock.patch.object(psycopg.Cursor, "execute", noting):
        yield seen
