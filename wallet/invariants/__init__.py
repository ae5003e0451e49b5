"""What must always be true of the ledger, each as one query that finds who breaks it.

Everything is recomputed from the entries, grants, draws and reservations; nothing
trusts a stored balance. `manage.py check_ledger`, beat and the tests all run these.
Jobs and payments register theirs, which hold their own rows against the ledger's.

A query yields `(wallet_id, detail)`, and no row when all is well. It reads the tables
by the names in `TABLES`, so that the same text serves one wallet and all of them. Each
costs at most a sort of what it reads: see `_one_snapshot`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from accounts import audit
from wallet import anchors
from wallet.invariants.chain import CHAIN
from wallet.invariants.credits import CREDITS
from wallet.invariants.money import MONEY
from wallet.invariants.terms import TERMS
from wallet.models import Wallet


@dataclass(frozen=True)
class Violation:
    """One wallet that breaks one invariant, with the numbers that disagree.

    A row that belongs to no wallet at all has neither wallet nor account.
    """

    invariant: str
    wallet_id: int | None
    account_id: UUID | None
    detail: str

    def __str__(self) -> str:
        who = f"wallet {self.wallet_id} (account {self.account_id}): "
        return f"{self.invariant}: {who if self.wallet_id else ''}{self.detail}"


# The ledger's own.
INVARIANTS: dict[str, str] = {**CHAIN, **CREDITS, **TERMS, **MONEY}
# And those of the apps above, once Django is set up.
EVERY: dict[str, str] = dict(INVARIANTS)
# Of the anchors themselves, which belong to no wallet.
SIGNED = "the anchors are whole and signed"
# What `manage.py check_ledger` writes to the audit.
CHECKED = "ledger_checked"

_OF_ITS_GRANTS = (
    "grant_id = ANY (ARRAY (SELECT id FROM wallet_grant WHERE wallet_id = %(wallet)s))"
)
# The names in the queries: what each selects from, and which of it is one wallet's.
TABLES: dict[str, tuple[str, str]] = {
    "wallets": ("* FROM wallet_wallet", "id = %(wallet)s"),
    # With the row as a value, for the functions that take one.
    "entries": ("e.*, e AS line FROM wallet_entry e", "wallet_id = %(wallet)s"),
    "grants": ("g.*, g AS line FROM wallet_grant g", "wallet_id = %(wallet)s"),
    "texts": (
        "* FROM wallet_text",
        "id = ANY (ARRAY (SELECT text_id FROM wallet_entry WHERE wallet_id ="
        " %(wallet)s AND text_id IS NOT NULL))",
    ),
    "anchored": ("* FROM wallet_anchoredhead", "wallet_id = %(wallet)s"),
    "draws": ("* FROM wallet_draw", _OF_ITS_GRANTS),
    "reservations": ("* FROM wallet_reservation", "wallet_id = %(wallet)s"),
    "budgets": ("* FROM wallet_budget", "wallet_id = %(wallet)s"),
    "claw_backs": ("* FROM wallet_clawback", _OF_ITS_GRANTS),
}
OF_ITS_ACCOUNT = (
    "account_id = (SELECT account_id FROM wallet_wallet WHERE id = %(wallet)s)"
)


def register(
    invariants: Mapping[str, str], tables: Mapping[str, tuple[str, str]]
) -> None:
    """Add an app's invariants, and its tables, to what every check proves."""
    TABLES.update(tables)
    EVERY.update(invariants)


def count() -> int:
    """How many invariants `check` proves: the queries, and the anchors."""
    return len(EVERY) + 1


def check(*, actor: str) -> list[Violation]:
    """All violations; the audit keeps when that was asked, and what was found."""
    broken = violations(among=EVERY)
    broken += [Violation(SIGNED, None, None, wrong) for wrong in anchors.faults()]
    wallets = {found.wallet_id for found in broken if found.wallet_id is not None}
    audit.record(
        CHECKED,
        actor=actor,
        invariants=count(),
        wallets=sorted(wallets)[:100],
        violations=len(broken),
    )
    return broken


def violations(
    wallet_id: int | None = None,
    *,
    among: Mapping[str, str] = INVARIANTS,
    using: BaseDatabaseWrapper | None = None,
    on_step: Callable[[int], None] | None = None,
) -> list[Violation]:
    """Every broken invariant of every wallet, or of one wallet.

    Reads one snapshot and locks nothing, however long it takes. `on_step` is called
    with the number of queries done so far; to write, it needs another connection
    than `using`.
    """
    found = []
    with _one_snapshot(using or connection) as cursor:
        for number, (name, query) in enumerate(among.items(), start=1):
            cursor.execute(scoped(query, wallet_id), {"wallet": wallet_id})
            found += [(name, *row) for row in cursor.fetchall()]
            if on_step is not None:
                on_step(number)
    accounts = dict(
        Wallet.objects.filter(pk__in={wallet for _, wallet, _ in found}).values_list(
            "pk", "account"
        )
    )
    return [
        Violation(name, wallet, accounts.get(wallet), detail)
        for name, wallet, detail in found
    ]


def scoped(query: str, wallet_id: int | None) -> str:
    """The query with the tables that it names, cut down to the one wallet if any."""
    items = []
    for name, (selected, of_one) in TABLES.items():
        if re.search(rf"\b{name}\b", query):
            one = "" if wallet_id is None else f" WHERE {of_one}"
            items.append(f"{name} AS NOT MATERIALIZED (SELECT {selected}{one})")
    # The queries are full of format()'s own percent signs.
    return f"WITH {', '.join(items)} {query.replace('%', '%%')}"


@contextmanager
def _one_snapshot(database: BaseDatabaseWrapper) -> Iterator[CursorWrapper]:
    """A cursor on one snapshot, with settings that end with it.

    Within a transaction of the caller's (a test's), that one's isolation remains.
    """
    begin, end = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "ROLLBACK"
    if database.in_atomic_block:
        begin, end = "SAVEPOINT invariants", "ROLLBACK TO SAVEPOINT invariants"
    with database.cursor() as cursor:
        cursor.execute(begin)
        try:
            cursor.execute(_SETTINGS)
            yield cursor
        finally:
            cursor.execute(end)


# A nested loop over two big inputs is what made a check quadratic: where statistics lag
# behind, the planner takes a million rows for one. Hash and merge joins stay linear.
_SETTINGS = """
    SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;
    SET LOCAL enable_nestloop = off; SET LOCAL jit = off; SET LOCAL work_mem = '32MB'
"""
