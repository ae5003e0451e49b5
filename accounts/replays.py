"""Idempotency keys: a repeated request gets the stored answer and changes nothing.

A key belongs to a contract and a caller, not to a token. So a client may rotate its
token between two tries.
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
# For how long a repeated request still gets the secret in its answer.
SECRET_KEPT = timedelta(minutes=15)
LONGEST_KEY = 255


class InvalidKey(DomainError):
    code = "invalid_idempotency_key"


class KeyInFlight(DomainError):
    """The first request with this key has not finished."""

    code = "request_in_flight"
    retry_after_seconds = 1


class KeyReused(DomainError):
    """The key was used for a request with another method, path or body."""

    code = "idempotency_key_reused"


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """One use of a key: by contract and caller (`scope`), for a request
    (`fingerprint`).
    """

    scope: str
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A stored answer: its status and its exact bytes.

    If the answer held a secret, `secret_body` is the answer as sent and `body` is the
    answer without the secret.
    """

    status: int
    body: bytes
    secret_body: bytes | None = None


def find(asked: KeyedRequest) -> StoredAnswer | None:
    """Return the stored answer of this key, or None if the caller must do the work.

    1. Call this in the transaction that does the work, before it takes any other lock.
    2. It takes an advisory lock on the key. A concurrent request with the same key gets
       `KeyInFlight`.
    3. The lock ends with the transaction. After a rollback or a crash the key is free.

    Two queries. Raises `InvalidKey` and `KeyReused`.
    """
    scope, key = asked.scope, asked.key
    if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        raise InvalidKey(f"An idempotency key is 1 to {LONGEST_KEY} printable letters.")
    lock = int.from_bytes(hashlib.sha256(f"{scope}\n{key}".encode()).digest()[:8])
    # Lock and lookup are two statements: the lookup needs a snapshot from after the
    # lock.
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
    """Store an answer for `KEPT`. Call it in the transaction that did the work."""
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
    """Delete expired answers and secrets and return how many answers were deleted.

    The ledger's own money keys are kept for ever.
    """
    with_secret = Replay.objects.filter(sealed__isnull=False)
    with_secret.filter(created_at__lt=Now() - SECRET_KEPT).update(sealed=None)
    count, _ = Replay.objects.filter(created_at__lt=Now() - KEPT).delete()
    return count
