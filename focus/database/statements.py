"""Hand-written statements for hot paths, where the ORM's own time matters.

Parameters are sent apart from the text, and the statement is prepared on its
connection. So PostgreSQL plans it once and Python compiles nothing. Other code uses the
ORM.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, LiteralString, TypeVar

from django.db import connection
from django.db.models import JSONField, Model
from psycopg import Cursor
from psycopg.rows import RowFactory, dict_row, tuple_row

M = TypeVar("M", bound=Model)


def rows(sql: LiteralString, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every row as a dict. Runs in Django's transaction, raises its errors."""
    return _fetch(sql, params, dict_row)


def tuples(sql: LiteralString, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return every row as a tuple, such as `columns` of models and further values."""
    return _fetch(sql, params, tuple_row)


def with_items(items: Mapping[str, LiteralString]) -> LiteralString:
    """Return the list of a WITH clause; each item may read the items before it."""
    return ", ".join([f"{name} AS ({sql})" for name, sql in items.items()])


@cache
def columns(model: type[Model], alias: str) -> LiteralString:
    """Return the model's columns for a SELECT list, in the order of `instance`."""
    names = [f'{alias}."{field.column}"' for field in model._meta.concrete_fields]
    return ", ".join(names)


def instance(model: type[M], row: tuple[Any, ...], start: int = 0) -> tuple[M, int]:
    """Build a model from a row's `columns` at `start`; also returns their end."""
    names, json = _shape(model)
    end = start + len(names)
    values = list(row[start:end])
    for place in json:
        field = model._meta.concrete_fields[place]
        values[place] = field.from_db_value(values[place], None, connection)  # type: ignore[attr-defined]
    return model.from_db(connection.alias, names, values), end


@cache
def _shape(model: type[Model]) -> tuple[list[str], list[int]]:
    fields = model._meta.concrete_fields
    # Django reads jsonb as text and leaves the rest to the field.
    json = [place for place, field in enumerate(fields) if isinstance(field, JSONField)]
    return [field.attname for field in fields], json


def _fetch(
    sql: LiteralString, params: Mapping[str, Any], shape: RowFactory[Any]
) -> list[Any]:
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    with (
        connection.wrap_database_errors,
        Cursor(connection.connection, row_factory=shape) as cursor,
    ):
        cursor.execute(sql, params, prepare=True)
        if connection.queries_logged:
            # So that Django's query counters count these statements too.
            connection.queries_log.append({"sql": sql, "time": "0"})
        return cursor.fetchall()
