"""Option values of the jobs commands, checked before a request is sent."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

import typer

from focus.cli import exact


def amount(text: str) -> Decimal:
    """Parse an option's amount of credits."""
    try:
        return exact.amount(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def merged(metadata: str | None, meta: list[str] | None) -> dict[str, Any] | None:
    """Return --metadata with the entries of --meta, or None without both."""
    if metadata is None and not meta:
        return None
    pairs = (entry.split("=", 1) for entry in meta or [])
    return {**exact.loads(metadata or "{}"), **dict(pairs)}


def _object(text: str | None) -> str | None:
    try:
        value = {} if text is None else exact.loads(text)
    except (ValueError, RecursionError):
        raise typer.BadParameter("this is not JSON.") from None
    if not isinstance(value, dict):
        raise typer.BadParameter('use a JSON object such as {"title": "Preview"}.')
    return text


def _pairs(entries: list[str] | None) -> list[str] | None:
    if not all(entry.find("=") > 0 for entry in entries or []):
        raise typer.BadParameter("use NAME=VALUE.")
    return entries


def _key(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"[!-~]{1,255}", text):
        raise typer.BadParameter("use up to 255 visible ASCII characters.")
    return text


Metadata = Annotated[
    str | None, typer.Option(callback=_object, metavar="JSON", help="A JSON object.")
]
Meta = Annotated[
    list[str] | None,
    typer.Option(
        callback=_pairs,
        metavar="NAME=VALUE",
        help="One text entry of the metadata; may be repeated.",
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        callback=_key,
        metavar="KEY",
        help="Makes a repeat of this command safe; else a new one is made.",
    ),
]
