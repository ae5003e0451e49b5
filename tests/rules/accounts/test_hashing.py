"""Password hashes: a bounded number at once, NFKC, and hashes from before NFKC."""

import os
import threading
import unicodedata
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from rest_framework.test import APIClient

from accounts.models import SecurityEvent, User
from accounts.signin import hashing, passwords

pytestmark = pytest.mark.django_db
WORD = "pässwördé 1"
COMPOSED = unicodedata.normalize("NFC", WORD)
DECOMPOSED = unicodedata.normalize("NFD", WORD)
LOGIN = {"email": "alice@example.com", "password": "alice's password"}


@pytest.mark.parametrize("first", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("then", [COMPOSED, DECOMPOSED])
def test_composed_and_decomposed_letters_are_the_same_password(
    first: str, then: str
) -> None:
    passwords.register(email="eve@example.com", password=first)
    user = passwords.authenticate(email="eve@example.com", password=then)
    assert user.email == "eve@example.com"
    with pytest.raises(passwords.InvalidCredentials):
        passwords.authenticate(email="eve@example.com", password=then + "x")


def test_a_hash_from_before_normalisation_matches_and_is_renewed(
    alice: User,
) -> None:
    alice.password = make_password(DECOMPOSED)
    alice.save()
    with pytest.raises(passwords.InvalidCredentials):
        passwords.authenticate(email="alice@example.com", password=COMPOSED)
    passwords.authenticate(email="alice@example.com", password=DECOMPOSED)
    for spelling in (COMPOSED, DECOMPOSED):
        passwords.authenticate(email="alice@example.com", password=spelling)
    alice.refresh_from_db()
    assert hashing.check(COMPOSED, alice.password) == (True, False)


def test_a_hash_of_another_algorithm_is_renewed(alice: User, settings: Any) -> None:
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
        *settings.PASSWORD_HASHERS,
    ]
    assert alice.password.startswith("md5$")
    passwords.authenticate(email="alice@example.com", password="alice's password")
    alice.refresh_from_db()
    assert alice.password.startswith("pbkdf2_sha256$")
    passwords.authenticate(email="alice@example.com", password="alice's password")


def test_renewing_a_hash_does_not_overwrite_a_concurrent_password_change(
    alice: User,
) -> None:
    alice.password = make_password(DECOMPOSED)
    alice.save()
    User.objects.update(password=make_password("a newer password"))
    assert passwords.verify(user=alice, password=DECOMPOSED)
    passwords.authenticate(email="alice@example.com", password="a newer password")


def test_a_long_password_is_refused_and_never_cut_short(alice: User) -> None:
    long = "é" * 256
    alice.password = make_password(long)
    alice.save()
    assert passwords.verify(user=alice, password=long)
    assert not passwords.verify(user=alice, password=long + "x")
    # Too long as typed, and of allowed length after NFKC.
    assert passwords.verify(user=alice, password=unicodedata.normalize("NFD", long))


@pytest.fixture
def full(settings: Any) -> Iterator[threading.Event]:
    """Occupies all places of the pool until the event is set."""
    settings.PASSWORD_HASHES_AT_ONCE = settings.PASSWORD_HASHES_WAITING = 1
    hashing._pool.cache_clear()
    go, places = threading.Event(), hashing._pool().places._value
    waiting = [
        threading.Thread(target=hashing._run, args=(go.wait,)) for _ in range(places)
    ]
    for thread in waiting:
        thread.start()
    while hashing._pool().places._value:
        pass
    yield go
    go.set()
    for thread in waiting:
        thread.join()
    hashing._pool.cache_clear()


ROADS = [
    ("/api/auth/login", LOGIN, "SERVICE_UNAVAILABLE"),
    ("/api/auth/register", LOGIN | {"email": "e@example.com"}, "SERVICE_UNAVAILABLE"),
    ("/v1/auth/login", LOGIN, "Service Unavailable"),
    ("/v1/auth/register", LOGIN | {"email": "e@example.com"}, "Service Unavailable"),
]


@pytest.mark.parametrize(("path", "body", "said"), ROADS, ids=lambda it: str(it)[:20])
def test_a_sign_in_beyond_the_queue_is_503_and_wallet_calls_are_not_delayed(
    full: threading.Event,
    alice: User,
    as_alice: APIClient,
    as_stranger: APIClient,
    path: str,
    body: dict[str, str],
    said: str,
) -> None:
    for _ in range(12):
        refused = as_stranger.post(path, body)
        assert (refused.status_code, refused["Retry-After"]) == (503, "1")
        assert said in refused.content.decode()
    # No guess was counted and nothing was written.
    assert not SecurityEvent.objects.filter(kind="sign_in_failed").exists()
    assert User.objects.count() == 1
    wallet = as_alice.get("/api/wallet")
    assert wallet.status_code == 200
    full.set()
    while hashing._pool().places._value == 0:
        pass
    assert as_stranger.post("/api/auth/login", LOGIN).status_code == 200


def test_a_page_sign_in_beyond_the_queue_is_503(
    full: threading.Event, client: Any, alice: User
) -> None:
    for intent in ("", "create"):
        page = client.post("/signin", LOGIN | {"intent": intent})
        assert (page.status_code, page["Retry-After"]) == (503, "1")
        assert "Too many people are signing in" in page.content.decode()


def test_no_more_hashes_run_at_once_than_allowed(settings: Any) -> None:
    settings.PASSWORD_HASHES_AT_ONCE, settings.PASSWORD_HASHES_WAITING = 2, 6
    hashing._pool.cache_clear()
    lock, running, seen = threading.Lock(), [0], []

    def work() -> None:
        with lock:
            running[0] += 1
            seen.append(running[0])
        make_password("x")
        with lock:
            running[0] -= 1

    threads = [threading.Thread(target=hashing._run, args=(work,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hashing._pool.cache_clear()
    assert len(seen) == 8
    assert max(seen) <= 2


def test_hashes_run_at_a_lower_priority_than_requests() -> None:
    hashing._pool.cache_clear()
    here = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    there = hashing._run(
        lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    )
    assert there == max(here, hashing.NICENESS)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == here
