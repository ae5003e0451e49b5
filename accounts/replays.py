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
from accounts.sealed import seal, unseal
from focus.database.statements import tuples
from focus.errors import DomainError

KEPT = timedelta(days=30)
# How long a secret can be asked for again.
SECRET_KEPT = timedelta(minutes=15)
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
class KeyedRequest:
    """Whose key it is (`scope`: contract and caller), and of which request."""

    scope: str
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A stored answer: its status and its very bytes.

    `secret_body` is what was said where that held a secret; then `body` has none.
    """

    status: int
    body: bytes
    secret_body: bytes | None = None


def find(asked: KeyedRequest) -> StoredAnswer | None:
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
    found = tuples(_FIND, {"scope": scope, "key": key, "kept": SECRET_KEPT})
    if not found:
        return None
    before, status, body, sealed = found[0]
    if bytes(before) != asked.fingerprint:
        raise KeyReused("This idempotency key has answered another request.")
    secret_body = None if sealed is None else unseal(sealed, purpose="replays")
    return StoredAnswer(status, bytes(body), secret_body)


_LOCK: LiteralString = "SELECT pg_try_advisory_xact_lock(%(lock)s)"
_FIND: LiteralString = """
    SELECT fingerprint, status, body,
        CASE WHEN created_at > statement_timestamp() - %(kept)s THEN sealed END
    FROM accounts_replay
    WHERE scope = %(scope)s AND key = %(key)s
"""


def store(asked: KeyedRequest, answer: StoredAnswer) -> None:
    """Keep an answer for `KEPT`, in the transaction that it speaks of."""
    secret = answer.secret_body
    sealed = None if secret is None else seal(secret, purpose="replays")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO accounts_replay"
            " (scope, key, fingerprint, status, body, sealed)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            [
                asked.scope,
                asked.key,
                asked.fingerprint,
                answer.status,
                answer.body,
                sealed,
            ],
        )


def forget_old() -> int:
    """Drop the answers and secrets whose time is over; the ledger's own money keys
    stay.
    """
    told = Replay.objects.filter(sealed__isnull=False)
    told.filter(created_at__lt=Now() - SECRET_KEPT).update(sealed=None)
    count, _ = Replay.objects.filter(created_at__lt=Now() - KEPT).delete()
    return count
