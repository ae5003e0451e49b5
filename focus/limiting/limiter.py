"""An exact sliding window in Redis, or in this process while Redis is unavailable.

A hit counts for exactly `seconds`, so twice the limit never passes at an edge. One
round trip checks and counts all windows of a request. A request that one window refuses
counts in none. Redis holds one list of times per window, at most as long as the limit.
The list expires with its last hit.
"""

import hashlib
import logging
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

log = logging.getLogger(__name__)

# During an outage, one request per REST_SECONDS waits for Redis, and the others do not.
REST_SECONDS = 2.0
# The most keys that a process stores: of windows during an outage, and of marks.
LOCAL_KEYS = 20_000


@dataclass(frozen=True, slots=True)
class Window:
    """One limit of one subject: `limit` hits in any `seconds`.

    With `counts` false, a full window refuses the request, but the request adds no hit.
    """

    key: str
    limit: int
    seconds: int
    counts: bool = True


@dataclass(frozen=True, slots=True)
class WindowState:
    """A window after the request: its hits, and when the next hit expires.

    For a full window, that is when it accepts a request again. Milliseconds since 1970.
    """

    hits: int
    resets_at_ms: int


@dataclass(frozen=True, slots=True)
class WindowVerdict:
    """Whether the request passes, the limiter's clock, and the state of each window."""

    allowed: bool
    now_ms: int
    states: tuple[WindowState, ...]
    marked: bool = False


# KEYS: one list of times per window, then the mark, if any. ARGV: the number of
# windows, the mark's lifetime in ms (0: only read it), then limit, ms and counts per
# window.
_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local windows = tonumber(ARGV[1])
local allowed, hits = 1, {}
for i = 1, windows do
  local gone = now - ARGV[3 * i + 1]
  local oldest = redis.call('LINDEX', KEYS[i], 0)
  while oldest and tonumber(oldest) <= gone do
    redis.call('LPOP', KEYS[i])
    oldest = redis.call('LINDEX', KEYS[i], 0)
  end
  hits[i] = redis.call('LLEN', KEYS[i])
  if hits[i] >= tonumber(ARGV[3 * i]) then allowed = 0 end
end
local mark, marked = KEYS[windows + 1], 0
if mark then
  if ARGV[2] == '0' then marked = redis.call('EXISTS', mark)
  else redis.call('SET', mark, '1', 'PX', ARGV[2]) end
end
local answer = {allowed, now, marked}
for i = 1, windows do
  if allowed == 1 and ARGV[3 * i + 2] == '1' then
    redis.call('RPUSH', KEYS[i], now)
    redis.call('PEXPIRE', KEYS[i], ARGV[3 * i + 1])
    hits[i] = hits[i] + 1
  end
  -- After a limit was lowered, the surplus hits must expire first.
  local next = math.max(0, hits[i] - tonumber(ARGV[3 * i]))
  answer[#answer + 1] = hits[i]
  answer[#answer + 1] = (redis.call('LINDEX', KEYS[i], next) or now) + ARGV[3 * i + 1]
end
return answer
"""


class InRedis:
    """The windows of all processes, in Redis. Raises `redis.RedisError` without Redis.

    Each thread has its own connection. Redis-py's client with its pool would double the
    cost of a check.
    """

    def __init__(self, url: str, script: str = _SCRIPT) -> None:
        self._script = script
        self._sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        self._pool = redis.ConnectionPool.from_url(
            url,
            socket_timeout=settings.RATE_LIMIT_TIMEOUT_SECONDS,
            socket_connect_timeout=settings.RATE_LIMIT_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._of_thread = threading.local()

    def check(
        self, windows: Sequence[Window], mark: str | None, mark_seconds: int
    ) -> WindowVerdict:
        """Check and count `windows` in one script call, and store or read `mark`.

        With `mark_seconds` 0 the mark is only read.
        """
        keys = [_redis_key(window.key) for window in windows]
        if mark is not None:
            keys.append(_redis_key(mark))
        arguments: list[int] = [len(windows), mark_seconds * 1000]
        for one in windows:
            arguments += (one.limit, one.seconds * 1000, int(one.counts))
        answer = self._run(len(keys), *keys, *arguments)
        allowed, now_ms, marked, *facts = answer
        pairs = zip(facts[::2], facts[1::2], strict=True)
        states = tuple(WindowState(hits, resets) for hits, resets in pairs)
        return WindowVerdict(bool(allowed), now_ms, states, bool(marked))

    def _run(self, *arguments: str | int) -> Any:
        link = getattr(self._of_thread, "link", None)
        if link is None:
            made = self._pool.connection_class(**self._pool.connection_kwargs)
            link = self._of_thread.link = made
        try:
            return self._run_on(link, *arguments)
        except redis.ConnectionError:
            # Retry once: the connection may have died since its last use. A timeout is
            # not retried, because Redis may have counted the hit already.
            return self._run_on(link, *arguments)

    def _run_on(self, link: Any, *arguments: str | int) -> Any:
        try:
            link.send_command("EVALSHA", self._sha, *arguments)
            return link.read_response()
        except redis.exceptions.NoScriptError:
            link.send_command("EVAL", self._script, *arguments)
            return link.read_response()


class InProcess:
    """The windows of this process alone, of at most `LOCAL_KEYS` subjects."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hits: OrderedDict[str, deque[int]] = OrderedDict()
        self._marks: OrderedDict[str, int] = OrderedDict()

    def check(
        self, windows: Sequence[Window], mark: str | None, mark_seconds: int
    ) -> WindowVerdict:
        """Do the same as `InRedis.check`, under this object's lock."""
        with self._lock:
            now = time.time_ns() // 1_000_000
            marked = self._mark(mark, mark_seconds, now)
            lists = [self._counting(window, now) for window in windows]
            pairs = list(zip(windows, lists, strict=True))
            allowed = all(len(hits) < window.limit for window, hits in pairs)
            states = []
            for window, hits in pairs:
                if allowed and window.counts:
                    hits.append(now)
                over = max(0, len(hits) - window.limit)
                leaves = hits[over] if hits else now
                states.append(WindowState(len(hits), leaves + window.seconds * 1000))
            return WindowVerdict(allowed, now, tuple(states), marked)

    def knows(self, mark: str) -> bool:
        """Return whether `mark` is stored and has not expired."""
        with self._lock:
            return self._mark(mark, 0, time.time_ns() // 1_000_000)

    def remember(self, mark: str, seconds: int) -> None:
        """Store `mark` for `seconds`."""
        with self._lock:
            self._mark(mark, seconds, time.time_ns() // 1_000_000)

    def _counting(self, window: Window, now: int) -> deque[int]:
        hits = self._hits.setdefault(window.key, deque())
        self._hits.move_to_end(window.key)
        while hits and hits[0] <= now - window.seconds * 1000:
            hits.popleft()
        if len(self._hits) > LOCAL_KEYS:
            self._hits.popitem(last=False)
        return hits

    def _mark(self, mark: str | None, seconds: int, now: int) -> bool:
        if mark is None:
            return False
        if seconds:
            self._marks[mark] = now + seconds * 1000
            self._marks.move_to_end(mark)
            if len(self._marks) > LOCAL_KEYS:
                self._marks.popitem(last=False)
            return False
        return self._marks.get(mark, 0) > now


class Limiter:
    """Counts in Redis; after an error, in this process for `REST_SECONDS`."""

    def __init__(self, url: str) -> None:
        self._redis = InRedis(url)
        self._local = InProcess()
        self._lock = threading.Lock()
        self._rests_until = 0.0

    def hit(
        self, windows: Sequence[Window], *, mark: str | None = None, seconds: int = 0
    ) -> WindowVerdict:
        """Check a request against all `windows`; count it in all of them or in none.

        Stores `mark` for `seconds`, whether the request passes or not.
        """
        if mark is not None:
            self._local.remember(mark, seconds)
        return self._check(windows, mark, seconds)

    def look(
        self, windows: Sequence[Window], *, mark: str | None = None
    ) -> WindowVerdict:
        """Return the windows without counting, and whether `mark` is stored."""
        seen = [Window(w.key, w.limit, w.seconds, counts=False) for w in windows]
        return self._check(seen, mark, 0)

    def knows(self, mark: str) -> bool:
        """Return whether this process has stored `mark`.

        Redis may have it even if not.
        """
        return self._local.knows(mark)

    def _check(
        self, windows: Sequence[Window], mark: str | None, mark_seconds: int
    ) -> WindowVerdict:
        if self._may_try():
            try:
                verdict = self._redis.check(windows, mark, mark_seconds)
            except redis.RedisError as gone:
                self._rests_until = time.monotonic() + REST_SECONDS
                log.warning(
                    "Limits count in this process: %s: %s", type(gone).__name__, gone
                )
            else:
                if self._rests_until:
                    self._rests_until = 0.0
                    log.warning("Limits count in Redis again.")
                return verdict
        return self._local.check(windows, mark, mark_seconds)

    def _may_try(self) -> bool:
        if not self._rests_until:
            return True
        with self._lock:
            now = time.monotonic()
            if now < self._rests_until:
                return False
            # Other threads skip Redis until this one has tried.
            self._rests_until = now + REST_SECONDS
            return True


@cache
def process_limiter() -> Limiter:
    """Return this process's limiter. It connects on the first check."""
    return Limiter(settings.REDIS_URL)


# A forked process must not share the parent's connection.
os.register_at_fork(after_in_child=process_limiter.cache_clear)


def _redis_key(key: str) -> str:
    """Return the Redis key of a window.

    All keys share one hash slot, so that a Redis cluster can run the script. The digest
    keeps addresses, codes and ids out of Redis.
    """
    pepper = settings.TOKEN_PEPPER.encode()[:64]
    digest = hashlib.blake2b(key.encode(), digest_size=16, key=pepper).hexdigest()
    return f"{{limit}}:{digest}"
