"""Issuers' keys: fetched once, kept through outages, never taken from a token."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from accounts import sealed
from accounts.credentials.principals import InvalidToken, TokenEnded, TokenExpired
from accounts.providers import jwks
from accounts.providers.outbound import ServiceDown
from tests.clerk import GONE, ISSUER, Clerk, session_token
from tests.clerk_stub import pem_of

JWKS = "/.well-known/"


@pytest.fixture
def read(clerk: Clerk) -> Callable[..., dict[str, Any]]:
    def reads(token: str, **other: Any) -> dict[str, Any]:
        return jwks.read(
            token,
            **{"url": clerk.jwks_url, "issuer": ISSUER, "required": ["sub"]} | other,
        )

    return reads


@pytest.fixture
def advance_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Move both clocks of this module forward."""
    moved = 0.0
    wall, steady = time.time, time.monotonic
    clock = type("Clock", (), {})
    clock.time = staticmethod(lambda: wall() + moved)  # type: ignore[attr-defined]
    clock.monotonic = staticmethod(lambda: steady() + moved)  # type: ignore[attr-defined]
    monkeypatch.setattr(jwks, "time", clock)

    def goes(seconds: float) -> None:
        nonlocal moved
        moved += seconds

    return goes


def _settle() -> None:
    """Wait for a fetch that runs in the background."""
    for thread in threading.enumerate():
        if getattr(thread, "_target", None).__class__.__name__ == "method":
            thread.join(60)


def test_keys_are_fetched_once(clerk: Clerk, read: Any):
    for _ in range(5):
        assert read(clerk.token())["sub"] == "user_2ann"
    assert len(clerk.asked(JWKS)) == 1


def test_a_new_key_is_fetched_when_a_token_names_it(
    clerk: Clerk, read: Any, advance_time: Any
):
    old = clerk.token()
    read(old)
    clerk.rotate()
    advance_time(jwks.COOLDOWN_SECONDS)
    assert read(clerk.token())["sub"] == "user_2ann"
    with pytest.raises(InvalidToken):
        read(old)
    assert len(clerk.asked(JWKS)) == 2


def test_invented_key_ids_cost_one_fetch_in_thirty_seconds(
    clerk: Clerk, read: Any, advance_time: Any
):
    for turn in range(1, 4):
        for number in range(10):
            with pytest.raises(InvalidToken):
                read(clerk.token(headers={"kid": f"made-up-{number}"}))
        assert len(clerk.asked(JWKS)) == turn
        advance_time(jwks.COOLDOWN_SECONDS)


@pytest.mark.parametrize("mode", ["down", "garbage", "empty", "huge", "moved"])
def test_a_failed_fetch_starts_the_cooldown_and_is_no_wrong_guess(
    clerk: Clerk, read: Any, mode: str
):
    clerk.mode(jwks=mode)
    for _ in range(5):
        with pytest.raises(ServiceDown):
            read(clerk.token())
    assert len(clerk.asked(JWKS)) == 1


@pytest.mark.parametrize("mode", ["down", "garbage", "empty", "huge", "moved"])
def test_an_outage_of_the_issuer_stops_no_sign_in(
    clerk: Clerk, read: Any, advance_time: Any, mode: str
):
    token = clerk.token(exp=int(time.time()) + 10 * 24 * 3600)
    read(token)
    clerk.mode(jwks=mode)
    advance_time(jwks.FRESH_SECONDS + 1)
    read(token)
    _settle()
    assert len(clerk.asked(JWKS)) == 2
    assert read(token)["sub"] == "user_2ann"
    # As a new process during the outage.
    jwks.clear_cache()
    assert read(token)["sub"] == "user_2ann"
    # For a day, then no longer.
    advance_time(jwks.KEPT_SECONDS)
    with pytest.raises(ServiceDown):
        read(token)


def test_an_old_set_is_refreshed_in_the_background(
    clerk: Clerk, read: Any, advance_time: Any
):
    token = clerk.token(exp=int(time.time()) + 10 * 24 * 3600)
    read(token)
    clerk.rotate()
    advance_time(jwks.FRESH_SECONDS + 1)
    assert read(token)["sub"] == "user_2ann"
    _settle()
    with pytest.raises(InvalidToken):
        read(token)


def test_a_token_with_a_known_key_waits_for_no_fetch(
    clerk: Clerk, read: Any, advance_time: Any
):
    known = clerk.token()
    read(known)
    clerk.mode(jwks="hang")
    advance_time(jwks.COOLDOWN_SECONDS)
    outcome: list[Any] = []

    def ask() -> None:
        try:
            read(clerk.token(headers={"kid": "made-up"}))
        except Exception as refusal:
            outcome.append(refusal)

    asking = threading.Thread(target=ask)
    asking.start()
    while len(clerk.asked(JWKS)) < 2:
        time.sleep(0.01)
    # The fetch has started and hangs.
    assert read(known)["sub"] == "user_2ann"
    assert asking.is_alive()
    asking.join(jwks.PATIENCE_SECONDS + 5)
    # A token with an unknown key waits only PATIENCE_SECONDS.
    assert [type(it) for it in outcome] == [ServiceDown]


def test_twelve_threads_fetch_once(clerk: Clerk, read: Any):
    clerk.mode(jwks="slow")
    token, gate, seen = clerk.token(), threading.Barrier(12), []

    def ask() -> None:
        gate.wait(60)
        seen.append(read(token)["sub"])

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == ["user_2ann"] * 12
    assert len(clerk.asked(JWKS)) == 1


def test_without_redis_keys_are_still_fetched(clerk: Clerk, read: Any, settings: Any):
    jwks._store.cache_clear()
    here, settings.REDIS_URL = settings.REDIS_URL, "redis://127.0.0.1:9/0"
    try:
        assert read(clerk.token())["sub"] == "user_2ann"
    finally:
        settings.REDIS_URL = here
        jwks._store.cache_clear()


def test_write_access_to_redis_plants_no_key(clerk: Clerk, read: Any, settings: Any):
    token = clerk.token()
    read(token)
    store = redis.Redis.from_url(settings.REDIS_URL)
    [name] = store.scan_iter("focus:jwks:*")
    clerk.mode(jwks="down")
    elsewhere = sealed.seal(
        b'{"url": "https://evil.example", "at": 1e12, "body": "{}"}', purpose="jwks"
    )
    for planted in (b'{"keys": []}', b"", elsewhere):
        store.set(name, planted)
        jwks.clear_cache()
        with pytest.raises(ServiceDown):
            read(token)
    store.close()


@pytest.mark.parametrize("mode", ["jwks", "pem"])
def test_the_tokens_header_cannot_bring_a_key(clerk: Clerk, read: Any, mode: str):
    other = rsa.generate_private_key(65537, 2048)
    way = {"pem": clerk.public_pem()} if mode == "pem" else {}
    for header in (
        {"jku": f"{clerk.base}/elsewhere"},
        {"x5u": f"{clerk.base}/elsewhere"},
        {"jwk": {"kty": "RSA", "n": "AQAB", "e": "AQAB"}},
        {},
    ):
        with pytest.raises(InvalidToken) as refusal:
            read(session_token(pem_of(other), headers=header), **way)
        assert refusal.value.wrong_guess
    assert not clerk.asked("/elsewhere")


def test_only_rs256_is_accepted(clerk: Clerk, read: Any):
    curve = pem_of(ec.generate_private_key(ec.SECP256R1()))  # type: ignore[arg-type]
    for token in (
        session_token("k" * 40, algorithm="HS256"),
        session_token("", algorithm="none"),
        session_token(curve, algorithm="ES256"),
        clerk.token(algorithm="RS512"),
        clerk.token(algorithm="PS256"),
        clerk.token(headers={"crit": ["exp"], "exp": 1}),
        clerk.token().rsplit(".", 1)[0] + ".",
        "a.b.c",
        "..",
        "",
    ):
        with pytest.raises(InvalidToken):
            read(token)
        with pytest.raises(InvalidToken):
            read(token, pem=clerk.public_pem())


def test_a_token_without_a_key_id_is_refused(clerk: Clerk, read: Any):
    token = clerk.token(headers={"kid": GONE})
    with pytest.raises(InvalidToken):
        read(token)
    assert read(token, pem=clerk.public_pem())


def test_times_have_five_seconds_of_leeway(clerk: Clerk, read: Any):
    now = int(time.time())
    assert read(clerk.token(exp=now - 3, nbf=now - 9, iat=now - 9))
    assert read(clerk.token(nbf=now + 3, iat=now + 3))
    with pytest.raises(TokenExpired):
        read(clerk.token(exp=now - 8))
    for late in ({"nbf": now + 60}, {"iat": now + 60}, {"exp": "soon"}, {"exp": 1e400}):
        with pytest.raises(InvalidToken):
            read(clerk.token(**late))


def test_issuer_audience_and_required_claims_are_checked(clerk: Clerk, read: Any):
    for other in ({"iss": "https://evil"}, {"iss": GONE}, {"sub": GONE}):
        with pytest.raises(TokenEnded):
            read(clerk.token(**other))
    assert read(clerk.token(), issuer=["https://one", ISSUER])
    assert read(clerk.token(aud="anybody"))
    assert read(clerk.token(aud="us"), audience="us")
    for aud in ("others", GONE):
        with pytest.raises(TokenEnded):
            read(clerk.token(aud=aud), audience="us")
