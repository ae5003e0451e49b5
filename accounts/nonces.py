"""Short-lived state in Redis under a nonce. Each state can be taken once."""

import hashlib
import json
import re
import secrets
from functools import cache
from typing import Any

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from focus.errors import DomainError

_NONCE = re.compile(r"[A-Za-z0-9_-]{43}")


class OtherPurpose(DomainError):
    """The nonce was issued for another purpose. It is used up all the same."""


class Unavailable(DomainError):
    """Redis is unavailable, so no ceremony can start or finish. Retry later."""

    code = "service_unavailable"
    retry_after_seconds = 1


def keep(*, purpose: str, facts: dict[str, Any], seconds: int) -> str:
    """Store `facts` under a new random nonce of 256 bits and return the nonce.

    Raises `Unavailable` without Redis.
    """
    nonce = secrets.token_urlsafe(32)
    kept = json.dumps({"purpose": purpose, "facts": facts})
    try:
        _store().set(_key(nonce), kept, ex=seconds)
    except redis.RedisError as gone:
        raise _unavailable() from gone
    return nonce


def take(*, purpose: str, nonce: object) -> dict[str, Any] | None:
    """Return the facts of a nonce and delete them; None if there are none.

    Of several concurrent callers exactly one gets the facts. Raises `OtherPurpose`,
    and `Unavailable` without Redis.
    """
    if not isinstance(nonce, str) or not _NONCE.fullmatch(nonce):
        return None
    try:
        # GETDEL reads and deletes atomically, so a replay finds nothing.
        kept: Any = _store().getdel(_key(nonce))
    except redis.RedisError as gone:
        raise _unavailable() from gone
    if kept is None:
        return None
    state = json.loads(kept)
    if state["purpose"] != purpose:
        raise OtherPurpose("This was started for another purpose. Please start again.")
    facts: dict[str, Any] = state["facts"]
    return facts


def spend(*, purpose: str, nonce: str, seconds: int) -> bool:
    """Return True for the first use of a nonce that another server made.

    The nonce is remembered for `seconds`. Choose them longer than the nonce stays
    valid, or it can be replayed afterwards. Raises `Unavailable` without Redis.
    """
    digest = hashlib.sha256(nonce.encode()).hexdigest()
    try:
        fresh = _store().set(f"focus:spent:{purpose}:{digest}", 1, ex=seconds, nx=True)
    except redis.RedisError as gone:
        raise _unavailable() from gone
    return bool(fresh)


def _key(nonce: str) -> str:
    return f"focus:nonce:{nonce}"


def _unavailable() -> Unavailable:
    return Unavailable("The service cannot answer right now. Please retry in a moment.")


@cache
def _store() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=1,
        socket_connect_timeout=1,
        # One retry, because a pooled connection may have died.
        retry=Retry(NoBackoff(), 1),
    )
