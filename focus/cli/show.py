"""Output: lines, tables and JSON, cleaned of control characters."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

import typer

from focus.cli import exact

# Controls, formats (text direction), lone surrogates, line and paragraph breaks.
_HARMLESS = {"Cc": " ", "Cf": "", "Cs": "?", "Zl": " ", "Zp": " "}


def out(line: str = "") -> None:
    """Print a line to stdout."""
    typer.echo(clean(line))


def err(line: str = "") -> None:
    """Print a line to stderr."""
    typer.echo(clean(line), err=True)


def as_json(data: object) -> None:
    """Print JSON to stdout."""
    typer.echo(exact.dumps(data, indent=2))


def clean(text: str) -> str:
    """Replace control characters, so that server texts cannot control the terminal."""
    return "".join(_HARMLESS.get(unicodedata.category(c), c) for c in text)


def credits_text(value: object) -> str:
    """Return `1 credit` or `0.01 credits`, and `? credits` for None."""
    return "1 credit" if value == 1 else f"{number(value)} credits"


def number(value: object) -> str:
    """Format an amount without an exponent: 0.000001, not 1E-6."""
    if value is None:
        return "?"
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def moment(text: object, *, absent: str = "never") -> str:
    """Format an ISO time in the local time zone."""
    if not text:
        return absent
    try:
        return datetime.fromisoformat(str(text)).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError):
        return str(text)


def pairs(rows: Mapping[str, str]) -> None:
    """Print lines of name and value, with aligned values."""
    width = max(map(len, rows))
    for name, value in rows.items():
        out(f"{name:<{width}}  {value}".rstrip())


def is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def fields(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print tab-separated rows without a header, for cut and awk."""
    for row in rows:
        out_fields = (_field(row.get(column)) for column in columns)
        typer.echo("\t".join(out_fields))


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print a table as wide as the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column.replace("_", " "), no_wrap=column == "job_id")
    for row in rows:
        # Text and not str: "[red]" in a partner's text must not be markup.
        drawn.add_row(*(Text(_cell(column, row.get(column))) for column in columns))
    Console().print(drawn)


@contextmanager
def waiting(line: str) -> Iterator[None]:
    """Show a spinner on a terminal; elsewhere print the line once."""
    if sys.stderr is None or not sys.stderr.isatty():
        err(line)
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(clean(line), spinner="line"):
        yield


def _field(value: object) -> str:
    text = "" if value is None else number(value)
    return clean(text)


def _cell(column: str, value: object) -> str:
    if column.endswith("_at"):
        return moment(value, absent="")
    return _field(value)
