"""A wallet's statement as CSV, for a spreadsheet or for whoever asks for their data."""

import csv
import io
from collections.abc import Iterator
from itertools import islice

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
FLUSH_CHARACTERS = 64_000


def lines_of(wallet: Wallet) -> Iterator[str]:
    """The statement, oldest first, a few hundred lines at a time."""
    buffer = io.StringIO()
    lines = csv.writer(buffer)
    lines.writerow(COLUMNS)
    for entry, reason in _with_reasons(wallet):
        lines.writerow(
            [
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
                _inert(entry.actor),
                _inert(reason),
            ]
        )
        if buffer.tell() > FLUSH_CHARACTERS:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _with_reasons(wallet: Wallet) -> Iterator[tuple[Entry, str]]:
    """Each entry with its words; the jobs' are read for a thousand at once."""
    entries = statements.every_entry(wallet=wallet)
    while some := list(islice(entries, 1000)):
        reasons = purposes.told(some)
        yield from ((entry, reasons[entry.pk]) for entry in some)


def _inert(text: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
