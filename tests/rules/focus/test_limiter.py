"""The limiter against a model of a sliding window, and against a dead Redis."""

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
import redis
from django.conf import settings
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from focus.limiting import limiter
from focus.limiting.limiter import InProcess, InRedis, Limiter, Window
from tests.faults.engines import Own, own_engines

_numbers = count(1)


def fresh(limit: int, seconds: int = 60, *, counts: bool = True) -> Window:
    """A window with a key of its own."""
    return Window(f"test:{time.time_ns()}:{next(_numbers)}", limit, seconds, counts)


@pytest.fixture(params=["redis", "process"])
def counting(request: pytest.FixtureRequest) -> Any:
    return InRedis(settings.REDIS_URL) if request.param == "redis" else InProcess()


def hit(counting: Any, *windows: Window) -> bool:
    return bool(counting.check(windows, None, 0).allowed)


def test_as_many_pass_as_the_limit_says(counting: Any) -> None:
    window = fresh(5)
    assert [hit(counting, window) for _ in range(8)] == [True] * 5 + [False] * 3


def test_all_windows_or_none(counting: Any) -> None:
    wide, narrow = fresh(10), fresh(2)
    passed = [hit(counting, wide, narrow) for _ in range(5)]
    assert passed == [True, True, False, False, False]
    # Three were refused by the narrow one, and none of them counted in the wide one.
    assert counting.check([wide], None, 0).states[0].hits == 3


def test_a_window_that_only_judges_is_not_counted_in(counting: Any) -> None:
    judge, counted = fresh(2), fresh(100)
    looked = Window(judge.key, 2, 60, counts=False)
    assert all(hit(counting, looked, counted) for _ in range(5))
    assert hit(counting, judge)
    assert hit(counting, judge)
    assert not hit(counting, looked, counted)


def test_what_is_left_and_when_it_comes_back(counting: Any) -> None:
    window = fresh(2)
    first = counting.check([window], None, 0)
    time.sleep(0.03)
    counting.check([window], None, 0)
    refused = counting.check([window], None, 0)
    assert first.states[0].hits == 1
    assert first.states[0].resets_at_ms == first.now_ms + 60_000
    assert not refused.allowed
    # The first hit is the first to leave.
    assert refused.states[0] == limiter.WindowState(2, first.states[0].resets_at_ms)


def test_a_lowered_limit_has_room_when_enough_have_left(counting: Any) -> None:
    window = fresh(3)
    answers = []
    for _ in range(3):
        answers.append(counting.check([window], None, 0))
        time.sleep(0.01)
    lowered = counting.check([Window(window.key, 1, 60)], None, 0)
    assert not lowered.allowed
    assert lowered.states[0].resets_at_ms == answers[2].now_ms + 60_000


def test_no_window_edge_lets_twice_the_limit_through(counting: Any) -> None:
    """Hits late in one second and early in the next are hits within one second."""
    window = fresh(20, 1)
    passed: list[float] = []
    end = time.monotonic() + 3.2
    while time.monotonic() < end:
        asked = time.monotonic()
        if hit(counting, window):
            passed.append(asked)
        time.sleep(0.002)
    assert len(passed) >= 60
    # By the asker's clock, which is early by the time that the question took.
    for first, beyond in zip(passed, passed[20:], strict=False):
        assert beyond - first > 0.9


def test_a_mark_is_known_for_as_long_as_it_is_kept(counting: Any) -> None:
    window, mark = fresh(1), f"mark:{time.time_ns()}"
    assert not counting.check([window], mark, 0).marked
    counting.check([window], mark, 1)
    assert counting.check([window], mark, 0).marked
    time.sleep(1.05)
    assert not counting.check([window], mark, 0).marked


def test_a_refused_request_is_marked_all_the_same(counting: Any) -> None:
    window, mark = fresh(1), f"mark:{time.time_ns()}"
    assert hit(counting, window)
    assert not counting.check([window], mark, 60).allowed
    assert counting.check([window], mark, 0).marked


class Model:
    """A sliding window in plain Python, slow and obvious."""

    def __init__(self) -> None:
        self.hits: dict[str, list[int]] = {}

    def check(self, windows: list[Window], now: int) -> bool:
        since = {w.key: now - w.seconds * 1000 for w in windows}
        used = {
            w.key: sum(at > since[w.key] for at in self.hits.get(w.key, []))
            for w in windows
        }
        allowed = all(used[w.key] < w.limit for w in windows)
        if allowed:
            for w in windows:
                if w.counts:
                    self.hits.setdefault(w.key, []).append(now)
        return allowed


steps = st.lists(
    st.tuples(st.integers(0, 2500), st.sets(st.integers(0, 2), min_size=1)),
    max_size=40,
)


@given(steps, st.tuples(*[st.integers(1, 4)] * 3), st.tuples(*[st.booleans()] * 3))
@hypothesis_settings(max_examples=150, deadline=None)
@pytest.mark.parametrize("kind", ["redis", "process"])
def test_every_history_ends_as_in_the_model(
    kind: str,
    steps: list[tuple[int, set[int]]],
    limits: tuple[int, ...],
    counts: tuple[bool, ...],
) -> None:
    windows = [fresh(n, 1 + i, counts=counts[i]) for i, n in enumerate(limits)]
    clock, model = Clock(kind), Model()
    now = 1_800_000_000_000
    for later, chosen in steps:
        now += later
        asked = [windows[i] for i in sorted(chosen)]
        assert clock.check(asked, now) == model.check(asked, now)


class Clock:
    """The real limiter at a time that the test chooses."""

    def __init__(self, kind: str) -> None:
        self._client: redis.Redis | None = None
        if kind == "redis":
            # Only the source of the time differs. Keys expire by the real clock.
            text = limiter._SCRIPT.replace(
                "redis.call('TIME')", "redis.call('GET', 'test:time')"
            ).replace("time[1] * 1000 + math.floor(time[2] / 1000)", "tonumber(time)")
            self._client = redis.Redis.from_url(settings.REDIS_URL)
            self._real: Any = InRedis(settings.REDIS_URL, text)
        else:
            self._real = InProcess()

    def check(self, windows: list[Window], now: int) -> bool:
        if self._client is not None:
            self._client.set("test:time", now)
            return hit(self._real, *windows)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time_ns", lambda: now * 1_000_000)
            return hit(self._real, *windows)


def race(ask: Any, threads: int, each: int) -> list[bool]:
    """Start all threads at once."""
    gate = threading.Barrier(threads)

    def run() -> list[bool]:
        gate.wait()
        return [ask() for _ in range(each)]

    with ThreadPoolExecutor(threads) as pool:
        runs = [pool.submit(run) for _ in range(threads)]
        return [passed for done in runs for passed in done.result()]


def test_of_200_threads_exactly_the_limit_passes(counting: Any) -> None:
    window = fresh(100)
    passed = race(lambda: hit(counting, window), threads=200, each=5)
    assert sum(passed) == 100


def test_a_race_over_two_windows_leaves_nothing_half_counted() -> None:
    counting = InProcess()
    wide, narrow = fresh(100), fresh(7)
    passed = race(lambda: hit(counting, wide, narrow), threads=50, each=4)
    assert sum(passed) == 7
    assert counting.check([wide], None, 0).states[0].hits == 8


def test_memory_in_a_process_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiter, "LOCAL_KEYS", 10)
    counting = InProcess()
    for _ in range(50):
        window = fresh(3)
        counting.check([window, fresh(3)], window.key, 60)
    assert len(counting._hits) <= 11
    assert len(counting._marks) <= 10


def test_nothing_readable_and_nothing_for_ever_is_kept_in_redis() -> None:
    window = Window("failures:203.0.113.9", 3, 2)
    InRedis(settings.REDIS_URL).check([window], "believed:203.0.113.9:secret", 2)
    client: Any = redis.Redis.from_url(settings.REDIS_URL, decode_responses=True)
    for key in (window.key, "believed:203.0.113.9:secret"):
        spelled = limiter._redis_key(key)
        assert re.fullmatch(r"\{limit\}:[0-9a-f]{32}", spelled)
        assert 0 < client.pttl(spelled) <= 2000
    for _ in range(10):
        InRedis(settings.REDIS_URL).check([window], None, 0)
    assert client.llen(limiter._redis_key(window.key)) == 3


def test_a_script_that_redis_forgot_is_sent_again() -> None:
    counting, window = InRedis(settings.REDIS_URL), fresh(2)
    assert hit(counting, window)
    redis.Redis.from_url(settings.REDIS_URL).script_flush()
    assert hit(counting, window)
    assert not hit(counting, window)


@pytest.fixture(scope="module")
def own_redis() -> Iterator[Own]:
    with own_engines() as (postgres, valkey):
        postgres.down()
        yield valkey


@pytest.mark.slow
def test_redis_dies_under_load_and_comes_back(own_redis: Own) -> None:
    """Never an error and never unlimited: one process may pass its own share again."""
    bounded, window = Limiter(own_redis.url), fresh(100)
    stop, passed = threading.Event(), [0] * 8

    def ask(me: int) -> None:
        while not stop.is_set():
            passed[me] += bounded.hit([window]).allowed

    with ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(ask, me) for me in range(8)]
        time.sleep(0.5)
        before = sum(passed)
        own_redis.down()
        time.sleep(1)
        stop.set()
        for run in runs:
            run.result()
    assert (before, sum(passed)) == (100, 200)
    own_redis.up()
    deadline = time.monotonic() + 3 * limiter.REST_SECONDS
    probe = fresh(10**6)
    seen = redis.Redis.from_url(own_redis.url)
    while not seen.exists(limiter._redis_key(probe.key)):
        assert time.monotonic() < deadline
        bounded.hit([probe])
        time.sleep(0.05)
    # Valkey began empty, so this window is new there; the limit holds from now on.
    assert sum(bounded.hit([window]).allowed for _ in range(150)) == 100


@pytest.mark.slow
def test_no_request_waits_for_a_dead_redis(
    own_redis: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounded = Limiter(own_redis.url)
    asked: list[int] = []
    real = bounded._redis.check

    def check(*arguments: Any) -> Any:
        asked.append(1)
        return real(*arguments)

    monkeypatch.setattr(bounded._redis, "check", check)
    own_redis.down()
    try:
        window = fresh(10**6)
        for _ in range(500):
            assert bounded.hit([window]).allowed
        assert len(asked) == 1
    finally:
        own_redis.up()
