"""A wallet's statement as CSV, which staff may hand to the wallet's owner."""

import csv
import io
from collections.abc import Iterator
from itertools import islice
from typing import Any

from focus.money import from_micro
from jobs import purposes
from wallet import statements
from wallet.models import Entry, Wallet

COLUMNS = [
    "seq",
    "booked_at",
    "movement_id",
    "kind",
    "from",
    "to",
    "amount",
    "available_after",
    "reserved_after",
    "debt_after",
    "balance_after",
    "app",
    "job_id",
    "actor",
    "reason",
]
CHUNK = 500


def lines_of(wallet: Wallet) -> Iterator[str]:
    """Yield the statement, oldest entry first, in chunks of up to `CHUNK` lines.

    The owner may read it: it names no staff, and of staff's texts it has only those
    for the customer.
    """
    buffer = io.StringIO()
    lines = csv.writer(buffer)
    lines.writerow(COLUMNS)
    entries = statements.all_entries(wallet=wallet)
    while chunk := list(islice(entries, CHUNK)):
        texts = purposes.for_owner(chunk)
        lines.writerows(_line(entry, texts[entry.pk]) for entry in chunk)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _line(entry: Entry, text: str) -> list[Any]:
    role, _, name = entry.actor.partition(":")
    return [
        entry.seq,
        entry.booked_at.isoformat(),
        entry.movement_id,
        entry.kind,
        entry.debit,
        entry.credit,
        from_micro(entry.amount_micro),
        from_micro(entry.available_after),
        from_micro(entry.reserved_after),
        from_micro(entry.debt_after),
        from_micro(entry.available_after - entry.debt_after),
        entry.app.slug if entry.app else "",
        entry.job_id or "",
        "staff" if name and role in ("staff", "shell") else _inert(entry.actor),
        _inert(text),
    ]


def _inert(text: str) -> str:
    """Return `text` so that a spreadsheet does not run it as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
