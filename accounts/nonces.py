"""Short-lived state behind a nonce: kept in Redis, handed back once."""

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
    """The nonce was given out for something else. It is spent all the same."""


class Unavailable(DomainError):
    """Redis cannot be asked: what starts or ends here has to wait."""

    code = "service_unavailable"
    retry_after_seconds = 1


def keep(*, purpose: str, facts: dict[str, Any], seconds: int) -> str:
    """Keep `facts` under a new nonce of 256 bits, which is the only way to them."""
    nonce = secrets.token_urlsafe(32)
    kept = json.dumps({"purpose": purpose, "facts": facts})
    try:
        _store().set(_key(nonce), kept, ex=seconds)
    except redis.RedisError as gone:
        raise _unavailable() from gone
    return nonce


def take(*, purpose: str, nonce: object) -> dict[str, Any] | None:
    """The facts of a nonce, for one caller of however many ask. None: not there.

    Raises `OtherPurpose`, and `Unavailable` without Redis.
    """
    if not isinstance(nonce, str) or not _NONCE.fullmatch(nonce):
        return None
    try:
        # One command reads and deletes, so of a thousand replays one is first.
        kept: Any = _store().getdel(_key(nonce))
    except redis.RedisError as gone:
        raise _unavailable() from gone
    if kept is None:
        return None
    state = json.loads(kept)
    if state["purpose"] != purpose:
        raise OtherPurpose("This was begun for something else. Please start again.")
    facts: dict[str, Any] = state["facts"]
    return facts


def spend(*, purpose: str, nonce: str, seconds: int) -> bool:
    """Whether this nonce of somebody else's making is new here; it is remembered for
    `seconds`, which must outlast what makes it too old to be taken. Raises
    `Unavailable` without Redis.
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
        # Once more, for a pooled connection that died since.
        retry=Retry(NoBackoff(), 1),
    )
