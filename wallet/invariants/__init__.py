"""The ledger's invariants, each as one query that finds the wallets that break it.

A query recomputes its facts from entries, grants, draws and reservations, and trusts no
stored balance. `manage.py check_ledger`, beat and the tests run all of them. Jobs and
payments register their own with `register`, and compare their rows with the ledger's.

A query returns `(wallet_id, detail)` per violation. It names its tables as `TABLES`
does, so one text serves one wallet and all wallets. A query costs at most a sort of the
rows that it reads: see `_one_snapshot`.
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

    A row that belongs to no wallet has neither wallet nor account.
    """

    invariant: str
    wallet_id: int | None
    account_id: UUID | None
    detail: str

    def __str__(self) -> str:
        who = f"wallet {self.wallet_id} (account {self.account_id}): "
        return f"{self.invariant}: {who if self.wallet_id else ''}{self.detail}"


# The ledger's own invariants.
INVARIANTS: dict[str, str] = {**CHAIN, **CREDITS, **TERMS, **MONEY}
# Those and the registered ones of other apps; complete once Django is set up.
EVERY: dict[str, str] = dict(INVARIANTS)
# The invariant of the anchors, which belong to no wallet.
SIGNED = "the anchors are whole and signed"
# The kind of audit event that a check writes.
CHECKED = "ledger_checked"

_OF_ITS_GRANTS = (
    "grant_id = ANY (ARRAY (SELECT id FROM wallet_grant WHERE wallet_id = %(wallet)s))"
)
# The table names in the queries: the source of each, and the condition for one wallet.
TABLES: dict[str, tuple[str, str]] = {
    "wallets": ("* FROM wallet_wallet", "id = %(wallet)s"),
    # `line` is the whole row, for functions that take a row.
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
    """Add an app's invariants and tables to every later check.

    Call it in `AppConfig.ready`. Both keep their names, so names must be unique.
    """
    TABLES.update(tables)
    EVERY.update(invariants)


def count() -> int:
    """Return the number of invariants that `check` proves: queries, and the anchors."""
    return len(EVERY) + 1


def check(*, actor: str) -> list[Violation]:
    """Return all violations, and record the check and its result in the audit."""
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
    """Return every violation in all wallets, or in one wallet.

    Reads one snapshot and takes no lock. `on_step` is called after each query with the
    number of finished queries. It must write over another connection than `using`.
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
    """Return the query with its tables defined, for one wallet if one is given."""
    items = []
    for name, (selected, of_one) in TABLES.items():
        if re.search(rf"\b{name}\b", query):
            one = "" if wallet_id is None else f" WHERE {of_one}"
            items.append(f"{name} AS NOT MATERIALIZED (SELECT {selected}{one})")
    # format() in the queries has percent signs, which psycopg must not read.
    return f"WITH {', '.join(items)} {query.replace('%', '%%')}"


@contextmanager
def _one_snapshot(database: BaseDatabaseWrapper) -> Iterator[CursorWrapper]:
    """Open a cursor on one snapshot, with settings that end with it.

    Inside a caller's transaction (a test), that transaction's isolation remains.
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


# A nested loop over two big inputs makes a check quadratic. The planner chooses one if
# its statistics are stale and expect one row of a million. Hash and merge joins do not.
_SETTINGS = """
    SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;
    SET LOCAL enable_nestloop = off; SET LOCAL jit = off; SET LOCAL work_mem = '32MB'
"""
