"""Password hashes: normalised passwords, and few hashes at once (decision 0031).

An Argon2 hash takes 100 MiB and all cores for a tenth of a second, and any visitor can
cause one. A process computes `PASSWORD_HASHES_AT_ONCE` of them, in threads with a low
priority. `PASSWORD_HASHES_WAITING` more requests wait. The next one is refused at once,
so most request threads stay free for other work.
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

# Hashing is slow on purpose, so the input must be short.
LONGEST = 256
# The lowest priority is 19. Argon2's own threads inherit it.
NICENESS = 5


class HashingBusy(DomainError):
    """Too many requests wait for a hash. Nothing was checked or counted."""

    code = "service_unavailable"
    retry_after_seconds = 1

    def __init__(self) -> None:
        super().__init__("Too many people are signing in. Try again in a moment.")


def normal(password: str) -> str:
    """Return the NFKC form of a password, which is the form that we hash.

    One system sends `e` and a combining accent where another one sends `é`.
    """
    return unicodedata.normalize("NFKC", password)


def make(password: str) -> str:
    """Return the hash of a normalised password. Raises `HashingBusy`."""
    return _run(hashers.make_password, normal(password))


def check(password: str, encoded: str) -> tuple[bool, bool]:
    """Return whether `encoded` is the hash of this password, and whether it is
    outdated.

    Hashes from before normalisation still match the password as typed and are outdated.
    An unusable hash costs the time of a wrong password, so timing does not reveal an
    account. Raises `HashingBusy`.
    """
    spellings = list(dict.fromkeys((normal(password), password)))
    return _run(_check, spellings, encoded)


def _check(spellings: list[str], encoded: str) -> tuple[bool, bool]:
    for place, spelling in enumerate(spellings):
        right, outdated = hashers.verify_password(spelling[:LONGEST], encoded)
        # A longer password costs the same time as others and never matches.
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
    # Only Linux takes a thread id here. Elsewhere the hashes run at normal priority.
    with contextlib.suppress(OSError, AttributeError):
        thread = threading.get_native_id()
        own = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, max(own, NICENESS))


# A forked child does not have its parent's threads, so it makes a new pool.
os.register_at_fork(after_in_child=_pool.cache_clear)
