"""Verify JWTs of other issuers by their JWKS, which this module fetches and caches.

The URL of a key set comes from settings. The token's own `jku`, `x5u` and `jwk` headers
are ignored. One thread at a time fetches, at most once per `COOLDOWN_SECONDS`, also
after a failure. A token with a cached key never waits for a fetch. This process
and Redis keep the last good set, so it survives an outage of the issuer. The copy in
Redis is sealed: write access to Redis is not enough to plant a key.
"""

import hashlib
import json
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import jwt
import redis
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from redis.backoff import NoBackoff
from redis.retry import Retry

from accounts import sealed
from accounts.credentials.principals import (
    InvalidToken,
    MalformedToken,
    TokenEnded,
    TokenExpired,
)
from accounts.providers import outbound
from accounts.providers.outbound import ServiceDown

log = logging.getLogger(__name__)

ALGORITHM = "RS256"
LEEWAY_SECONDS = 5
# An older set is used while a new one is fetched.
FRESH_SECONDS = 3600
# An older set is never used, even if no new one can be fetched.
KEPT_SECONDS = 24 * 3600
COOLDOWN_SECONDS = 30
# How long a token with an unknown key id waits for the fetch.
PATIENCE_SECONDS = 2
_PURPOSE = "jwks"


def read(
    token: str,
    *,
    url: str,
    pem: str = "",
    issuer: str | Sequence[str],
    required: Sequence[str],
    audience: str | None = None,
) -> dict[str, Any]:
    """Verify an RS256 token of `issuer` and return its claims. Leeway for times: 5 s.

    `pem` is the issuer's only key if it is configured; else the set at `url` has it.
    Without `audience`, the audience is not checked. Raises `TokenExpired`,
    `InvalidToken`, and `ServiceDown` if the key is unavailable.
    """
    try:
        header = jwt.get_unverified_header(token)
    except jwt.InvalidTokenError as broken:
        raise MalformedToken("The token is invalid.") from broken
    if header.get("alg") != ALGORITHM or "crit" in header:
        raise InvalidToken("The token is invalid.")
    found = _key_from_pem(pem) if pem else key(url=url, kid=header.get("kid"))
    try:
        return jwt.decode(
            token,
            found,
            algorithms=[ALGORITHM],
            issuer=issuer,
            audience=audience,
            leeway=LEEWAY_SECONDS,
            options={"require": list(required), "verify_aud": audience is not None},
        )
    except jwt.ExpiredSignatureError as expired:
        raise TokenExpired("The token has expired.") from expired
    except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError) as forged:
        raise InvalidToken("The token is invalid.") from forged
    except jwt.DecodeError as broken:
        raise MalformedToken("The token is invalid.") from broken
    # The signature is valid, but a claim is not, such as a time of infinite size.
    except (jwt.InvalidTokenError, TypeError, ValueError, OverflowError) as unfit:
        raise TokenEnded("The token is invalid.") from unfit


def key(*, url: str, kid: object) -> RSAPublicKey:
    """Return the key `kid` of the set at `url`.

    Raises `InvalidToken` if the set has no such key, and `ServiceDown` if the set
    cannot be fetched.
    """
    if not url or not isinstance(kid, str):
        raise MalformedToken("The token is invalid.")
    return _set_at(url).key(kid)


@dataclass(frozen=True, slots=True)
class _Fetched:
    keys: dict[str, RSAPublicKey]
    at: float

    @property
    def age(self) -> float:
        return time.time() - self.at


class _KeySet:
    """The cached keys of one issuer. Threads may call `key` at the same time.

    Each attribute changes in one assignment under the lock, so readers need no lock.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._lock = threading.Lock()
        self._last: _Fetched | None = None
        self._loaded = False
        self._fetcher: threading.Thread | None = None
        self._tried_at = float("-inf")
        self._failed = False

    def key(self, kid: str) -> RSAPublicKey:
        last = self._usable()
        if last is not None and kid in last.keys:
            if last.age > FRESH_SECONDS:
                self._refresh()
            return last.keys[kid]
        fetcher = self._refresh()
        if fetcher is not None:
            fetcher.join(PATIENCE_SECONDS)
        last = self._usable()
        if last is not None and kid in last.keys:
            return last.keys[kid]
        if last is None or self._failed or (fetcher and fetcher.is_alive()):
            raise ServiceDown("The issuer's keys cannot be had right now.")
        raise InvalidToken("The token is invalid.")

    def _usable(self) -> _Fetched | None:
        if not self._loaded:
            loaded = _load_keys(self.url)
            with self._lock:
                self._loaded = True
                self._last = self._last or loaded
        last = self._last
        return last if last is not None and last.age < KEPT_SECONDS else None

    def _refresh(self) -> threading.Thread | None:
        """Return the running fetch, or start one. None during the cooldown."""
        with self._lock:
            # After a fork, the parent's thread is not alive in the child.
            if self._fetcher is not None and self._fetcher.is_alive():
                return self._fetcher
            if time.monotonic() - self._tried_at < COOLDOWN_SECONDS:
                return None
            self._tried_at = time.monotonic()
            self._fetcher = threading.Thread(target=self._fetch, daemon=True)
            self._fetcher.start()
            return self._fetcher

    def _fetch(self) -> None:
        try:
            reply = outbound.get(self.url)
            fetched = _Fetched(_parse(reply), time.time())
        except ServiceDown as down:
            self._failed = True
            log.warning("Could not refresh the keys at %s: %s", self.url, down)
            return
        with self._lock:
            self._last, self._failed = fetched, False
        _store_keys(self.url, reply.body, fetched.at)


@lru_cache(maxsize=16)
def _set_at(url: str) -> _KeySet:
    return _KeySet(url)


def clear_cache() -> None:
    """Drop this process's cached key sets. The copy in Redis stays."""
    _set_at.cache_clear()


def _parse(reply: outbound.Reply) -> dict[str, RSAPublicKey]:
    """Return the set's RS256 signing keys by id. Raises `ServiceDown` without any."""
    listed = reply.json().get("keys") if reply.status == 200 else None
    keys = {}
    for item in listed if isinstance(listed, list) else []:
        if (found := _rsa(item)) is not None:
            keys[item["kid"]] = found
    if not keys:
        raise ServiceDown("The issuer's key set has no key for RS256.")
    return keys


def _rsa(item: Any) -> RSAPublicKey | None:
    if not isinstance(item, dict) or not isinstance(item.get("kid"), str):
        return None
    use, algorithm = item.get("use", "sig"), item.get("alg", ALGORITHM)
    if (item.get("kty"), use, algorithm) != ("RSA", "sig", ALGORITHM):
        return None
    try:
        found = jwt.PyJWK(item, ALGORITHM).key
    except jwt.PyJWTError:
        return None
    return found if isinstance(found, RSAPublicKey) else None


@lru_cache(maxsize=4)
def _key_from_pem(pem: str) -> RSAPublicKey:
    # In an environment file, a PEM on one line has its newlines escaped as \n.
    found = load_pem_public_key(pem.replace("\\n", "\n").encode())
    if not isinstance(found, RSAPublicKey):
        raise ImproperlyConfigured("The issuer's PEM must be an RSA public key.")
    return found


def _store_keys(url: str, body: bytes, at: float) -> None:
    kept = json.dumps({"url": url, "at": at, "body": body.decode()}).encode()
    try:
        _store().set(_name(url), sealed.seal(kept, purpose=_PURPOSE), ex=KEPT_SECONDS)
    except redis.RedisError as gone:
        log.warning("Could not store the keys of %s: %s", url, type(gone).__name__)


def _load_keys(url: str) -> _Fetched | None:
    try:
        kept: Any = _store().get(_name(url))
        if kept is None:
            return None
        facts = json.loads(sealed.unseal(kept, purpose=_PURPOSE))
        if facts["url"] != url:
            return None
        body = facts["body"].encode()
        return _Fetched(_parse(outbound.Reply(200, body)), facts["at"])
    except (redis.RedisError, sealed.Unreadable, ServiceDown) as useless:
        log.warning("No stored keys of %s: %s", url, type(useless).__name__)
        return None


def _name(url: str) -> str:
    return f"focus:jwks:{hashlib.sha256(url.encode()).hexdigest()}"


@cache
def _store() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=1,
        socket_connect_timeout=1,
        # One retry, because a pooled connection may have died.
        retry=Retry(NoBackoff(), 1),
    )
