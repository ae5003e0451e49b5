"""Idempotency keys: the same request again gets the same answer, and moves nothing.

A key belongs to a contract and a caller, not to a token: rotating a token keeps it.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import LiteralString

from django.db import connection
from django.db.models.functions import Now

from accounts.models import Replay
from focus.database.statements import tuples
from focus.errors import DomainError

KEPT = timedelta(days=30)
LONGEST_KEY = 255


class InvalidKey(DomainError):
    code = "invalid_idempotency_key"


class KeyInFlight(DomainError):
    """The first request with this key is still being worked on."""

    code = "request_in_flight"
    retry_after_seconds = 1


class KeyReused(DomainError):
    """The key has answered another request."""

    code = "idempotency_key_reused"


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose key it is (`scope`: contract and caller), and of which request."""

    scope: str
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """A stored answer: its status and its very bytes."""

    status: int
    body: bytes


def find(asked: Asked) -> Answer | None:
    """The answer this key got before, or None: then it is the caller's to work on.

    Must run inside the transaction that will do the work, before it locks anything.
    Until that ends a twin is refused with `KeyInFlight`; if it rolls back or its
    process dies, the key is free again. Raises `InvalidKey` and `KeyReused`.
    """
    scope, key = asked.scope, asked.key
    if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        raise InvalidKey(f"An idempotency key is 1 to {LONGEST_KEY} printable letters.")
    lock = int.from_bytes(hashlib.sha256(f"{scope}\n{key}".encode()).digest()[:8])
    # Two statements: the look-up's snapshot must be taken after the lock is.
    [[mine]] = tuples(_LOCK, {"lock": lock - 2**63})
    if not mine:
        raise KeyInFlight("The same request is still being worked on; ask again soon.")
    found = tuples(_FIND, {"scope": scope, "key": key})
    if not found:
        return None
    before, status, body = found[0]
    if bytes(before) != asked.fingerprint:
        raise KeyReused("This idempotency key has answered another request.")
    return Answer(status, bytes(body))


_LOCK: LiteralString = "SELECT pg_try_advisory_xact_lock(%(lock)s)"
_FIND: LiteralString = """
    SELECT fingerprint, status, body FROM accounts_replay
    WHERE scope = %(scope)s AND key = %(key)s
"""


def store(asked: Asked, answer: Answer) -> None:
    """Keep an answer for `KEPT`, in the transaction that it speaks of."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO accounts_replay (scope, key, fingerprint, status, body)"
            " VALUES (%s, %s, %s, %s, %s)",
            [asked.scope, asked.key, asked.fingerprint, answer.status, answer.body],
        )


def forget_old() -> int:
    """Drop the answers whose time is over; the ledger's own money keys stay."""
    count, _ = Replay.objects.filter(created_at__lt=Now() - KEPT).delete()
    return count
