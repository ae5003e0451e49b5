"""Count the SQL statements of the ORM and of raw cursors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import psycopg


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collect every statement in the block. Django's own log misses raw cursors."""
    seen: list[str] = []
    execute = psycopg.Cursor.execute

    def noting(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(str(query))
        return execute(self, query, *args, **kwargs)

    with mock.patch.object(psycopg.Cursor, "execute", noting):
        yield seen
