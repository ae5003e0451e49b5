"""Password hashes: one spelling of a password, and few hashes at once.

An Argon2 hash takes 100 MiB and all cores for a tenth of a second, and any stranger can
ask for one. A process computes `PASSWORD_HASHES_AT_ONCE` of them, in threads of a low
priority, and lets `PASSWORD_HASHES_WAITING` requests wait. It refuses the next one at
once, so that most of its request threads are free for other work.
"""

import contextlib
import os
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import ParamSpec, TypeVar

from django.conf import settings
from django.contrib.auth import hashers

from focus.errors import DomainError

P = ParamSpec("P")
R = TypeVar("R")

# Hashing is slow on purpose, so what is hashed must be short.
LONGEST = 256
# The lowest priority is 19. Argon2's own threads inherit it.
NICENESS = 5


class HashingBusy(DomainError):
    """Too many passwords wait for their hash. Nothing was looked at or counted."""

    code = "service_unavailable"
    retry_after_seconds = 1

    def __init__(self) -> None:
        super().__init__("Too many people are signing in. Try again in a moment.")


def normal(password: str) -> str:
    """The spelling that is hashed: NFKC, as for an email.

    One system may send `e` and an accent where another one sends `é`.
    """
    return unicodedata.normalize("NFKC", password)


def make(password: str) -> str:
    """The hash of a password in its normal spelling. Raises `HashingBusy`."""
    return _run(hashers.make_password, normal(password))


def check(password: str, encoded: str) -> tuple[bool, bool]:
    """Whether `encoded` is the hash of this password, and whether to hash it anew.

    A hash from before passwords were normalised fits the spelling that it was made of.
    Without a hash (an empty text) it does the work of a wrong password. Raises
    `HashingBusy`.
    """
    spellings = list(dict.fromkeys((normal(password), password)))
    return _run(_check, spellings, encoded)


def _check(spellings: list[str], encoded: str) -> tuple[bool, bool]:
    for place, spelling in enumerate(spellings):
        right, outdated = hashers.verify_password(spelling[:LONGEST], encoded)
        # A longer one costs what another costs, and is never right.
        if right and len(spelling) <= LONGEST:
            return True, outdated or place > 0
    return False, False


def _run(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    pool = _pool()
    if not pool.places.acquire(blocking=False):
        raise HashingBusy
    try:
        return pool.threads.submit(work, *args, **kwargs).result()
    finally:
        pool.places.release()


class _HashingPool:
    def __init__(self) -> None:
        running = settings.PASSWORD_HASHES_AT_ONCE
        waiting = settings.PASSWORD_HASHES_WAITING
        self.places = threading.BoundedSemaphore(running + waiting)
        self.threads = ThreadPoolExecutor(
            running, thread_name_prefix="password-hash", initializer=_give_way
        )


@cache
def _pool() -> _HashingPool:
    return _HashingPool()


def _give_way() -> None:
    # Linux takes a thread's id here; elsewhere the hashes run at the usual priority.
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


# A forked child has none of its parent's threads.
os.register_at_fork(after_in_child=_pool.cache_clear)
