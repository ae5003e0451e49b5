"""An exact sliding window, in Redis; in this process while Redis is gone.

A hit counts for `seconds`, then for nothing: no window has an edge at which twice the
limit gets through. All windows of a request are judged and counted in one round trip,
and a request that one of them refuses counts in none. What is kept is one list of times
a window, as long as its limit at most, and it goes when its last hit no longer counts.
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

# A healthy Redis answers in a fraction of a millisecond. One that does not answer may
# cost one request in two seconds this much, and no other request anything.
TIMEOUT_SECONDS = 0.2
REST_SECONDS = 2.0
# What a process remembers at most, of hits while Redis is gone and of marks.
LOCAL_KEYS = 20_000


@dataclass(frozen=True, slots=True)
class Window:
    """One limit of one subject: `limit` hits in any `seconds`.

    With `counts` false the request is judged by it and does not count in it.
    """

    key: str
    limit: int
    seconds: int
    counts: bool = True


@dataclass(frozen=True, slots=True)
class WindowState:
    """A window after the request: hits in it, and when the next of them leaves.

    Where it is full that is when a request has room again. Milliseconds since 1970.
    """

    hits: int
    resets_at_ms: int


@dataclass(frozen=True, slots=True)
class WindowVerdict:
    """Whether the request passes, by whose clock, and every window's state."""

    allowed: bool
    now_ms: int
    states: tuple[WindowState, ...]
    marked: bool = False


# KEYS: one list of times for each window, then a mark if there is one. ARGV: how many
# windows, the mark's life in ms (0: look at it), then limit, ms and counts of each.
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
  -- A limit that was lowered has more hits than room: that many leave first.
  local next = math.max(0, hits[i] - tonumber(ARGV[3 * i]))
  answer[#answer + 1] = hits[i]
  answer[#answer + 1] = (redis.call('LINDEX', KEYS[i], next) or now) + ARGV[3 * i + 1]
end
return answer
"""


class InRedis:
    """Counts for every process at once. Raises `redis.RedisError` when it cannot.

    Each thread has a connection of its own: a client with its pool would cost as much
    again as the question.
    """

    def __init__(self, url: str, script: str = _SCRIPT) -> None:
        self._script = script
        self._sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        self._pool = redis.ConnectionPool.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._mine = threading.local()

    def ask(
        self, windows: Sequence[Window], mark: str | None, mark_seconds: int
    ) -> WindowVerdict:
        keys = [_spelled(window.key) for window in windows]
        if mark is not None:
            keys.append(_spelled(mark))
        arguments: list[int] = [len(windows), mark_seconds * 1000]
        for one in windows:
            arguments += (one.limit, one.seconds * 1000, int(one.counts))
        answer = self._run(len(keys), *keys, *arguments)
        allowed, now_ms, marked, *facts = answer
        pairs = zip(facts[::2], facts[1::2], strict=True)
        states = tuple(WindowState(hits, resets) for hits, resets in pairs)
        return WindowVerdict(bool(allowed), now_ms, states, bool(marked))

    def _run(self, *arguments: str | int) -> Any:
        link = getattr(self._mine, "link", None)
        if link is None:
            made = self._pool.connection_class(**self._pool.connection_kwargs)
            link = self._mine.link = made
        try:
            return self._ask_by(link, *arguments)
        except redis.ConnectionError:
            # It may have died since it was last used. Not so after a timeout: then
            # the hit may have been counted already.
            return self._ask_by(link, *arguments)

    def _ask_by(self, link: Any, *arguments: str | int) -> Any:
        try:
            link.send_command("EVALSHA", self._sha, *arguments)
            return link.read_response()
        except redis.exceptions.NoScriptError:
            link.send_command("EVAL", self._script, *arguments)
            return link.read_response()


class InProcess:
    """The same answers, for this process alone. Remembers `LOCAL_KEYS` subjects."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hits: OrderedDict[str, deque[int]] = OrderedDict()
        self._marks: OrderedDict[str, int] = OrderedDict()

    def ask(
        self, windows: Sequence[Window], mark: str | None, mark_seconds: int
    ) -> WindowVerdict:
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
        with self._lock:
            return self._mark(mark, 0, time.time_ns() // 1_000_000)

    def remember(self, mark: str, seconds: int) -> None:
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
    """Redis while it answers. It is left alone for a while after it did not."""

    def __init__(self, url: str) -> None:
        self._redis = InRedis(url)
        self._local = InProcess()
        self._lock = threading.Lock()
        self._rests_until = 0.0

    def hit(
        self, windows: Sequence[Window], *, mark: str | None = None, seconds: int = 0
    ) -> WindowVerdict:
        """Judge a request by all of `windows`, and count it in all or in none.

        `mark` is remembered for `seconds`, whether the request passes or not.
        """
        if mark is not None:
            self._local.remember(mark, seconds)
        return self._ask(windows, mark, seconds)

    def look(
        self, windows: Sequence[Window], *, mark: str | None = None
    ) -> WindowVerdict:
        """The windows as they are, counting nothing, and whether `mark` is known."""
        seen = [Window(w.key, w.limit, w.seconds, counts=False) for w in windows]
        return self._ask(seen, mark, 0)

    def knows(self, mark: str) -> bool:
        """Whether this process itself remembers `mark`. False says nothing."""
        return self._local.knows(mark)

    def _ask(
        self, windows: Sequence[Window], mark: str | None, mark_seconds: int
    ) -> WindowVerdict:
        if self._may_try():
            try:
                verdict = self._redis.ask(windows, mark, mark_seconds)
            except redis.RedisError as gone:
                self._rests_until = time.monotonic() + REST_SECONDS
                log.warning(
                    "Limits are counted here: %s: %s", type(gone).__name__, gone
                )
            else:
                if self._rests_until:
                    self._rests_until = 0.0
                    log.warning("Limits are counted in Redis again.")
                return verdict
        return self._local.ask(windows, mark, mark_seconds)

    def _may_try(self) -> bool:
        if not self._rests_until:
            return True
        with self._lock:
            now = time.monotonic()
            if now < self._rests_until:
                return False
            # The others stay away until this one knows.
            self._rests_until = now + REST_SECONDS
            return True


@cache
def process_limiter() -> Limiter:
    """It connects when it is first asked."""
    return Limiter(settings.REDIS_URL)


# Two processes must not talk on one connection.
os.register_at_fork(after_in_child=process_limiter.cache_clear)


def _spelled(key: str) -> str:
    """One hash slot for all, so that a cluster can run the script; and no address,
    code or id to read in Redis.
    """
    pepper = settings.TOKEN_PEPPER.encode()[:64]
    digest = hashlib.blake2b(key.encode(), digest_size=16, key=pepper).hexdigest()
    return f"{{limit}}:{digest}"
