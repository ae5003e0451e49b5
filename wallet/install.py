"""Installs the current text of `wallet/sql/*.sql` into the database.

Runs after every migrate. The comment of the schema `ledger` stores the digest of the
installed text, so an unchanged text costs two queries. A function with a changed
signature gets a new name. The old function stays for one release, so processes of the
previous release keep working during a deployment.
"""

import hashlib
from pathlib import Path

from django.db import connections, transaction

SQL = Path(__file__).parent / "sql"


def source() -> str:
    """Return the text of all files in `wallet/sql/`, in the order of their names."""
    return "\n".join(path.read_text() for path in sorted(SQL.glob("*.sql")))


def install_functions(*, using: str = "default", **_signal: object) -> None:
    """Install the functions in one transaction, if their text has changed."""
    text = source()
    mark = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        # Two deployments at once would collide in CREATE OR REPLACE of one function.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('ledger.install'))")
        cursor.execute(
            "SELECT obj_description(oid) FROM pg_namespace WHERE nspname = 'ledger'"
        )
        row = cursor.fetchone()
        if row is None or row[0] == mark:
            return
        cursor.execute(text)
        cursor.execute(f"COMMENT ON SCHEMA ledger IS '{mark}'")
