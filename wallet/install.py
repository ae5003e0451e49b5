"""Puts the current text of `wallet/sql/*.sql` into the database.

Runs after every migrate, and does something only when the text has changed: the
schema's comment remembers which text is installed. A function whose signature
changes gets a new name and the old one stays for a release, so processes of the
previous release keep working while a deployment is under way.
"""

import hashlib
from pathlib import Path

from django.db import connections, transaction

SQL = Path(__file__).parent / "sql"


def source() -> str:
    return "\n".join(path.read_text() for path in sorted(SQL.glob("*.sql")))


def install_functions(*, using: str = "default", **_signal: object) -> None:
    text = source()
    mark = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        # Two deployments at once: CREATE OR REPLACE of one function would collide.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('ledger.install'))")
        cursor.execute(
            "SELECT obj_description(oid) FROM pg_namespace WHERE nspname = 'ledger'"
        )
        row = cursor.fetchone()
        if row is None or row[0] == mark:
            return
        cursor.execute(text)
        cursor.execute(f"COMMENT ON SCHEMA ledger IS '{mark}'")
