"""Our JWTs: one algorithm, one type at a time, a ring of keys."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from accounts.credentials import jwt
from accounts.credentials.principals import InvalidToken, TokenExpired

KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("old", "new")}
PEMS = {
    name: key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    for name, key in KEYS.items()
}


@pytest.fixture(autouse=True)
def _ring(settings: Settings) -> None:
    settings.JWT_PRIVATE_KEY = PEMS["new"] + PEMS["old"]


def claims(**other: Any) -> dict[str, Any]:
    now = int(time.time())
    given = {"sub": "s", "sid": "i", "jti": "j", "iat": now, "exp": now + 60}
    return {**given, **other}


def test_reading_a_signed_token_returns_its_claims(settings: Settings) -> None:
    said = claims()
    token = jwt.sign(jwt.ACCESS, said)
    ours = {"iss": settings.PUBLIC_BASE_URL, "aud": "focus-api"}
    assert jwt.read(jwt.ACCESS, token) == {**said, **ours}
    header = pyjwt.get_unverified_header(token)
    assert header == {"alg": "ES256", "typ": "at+jwt", "kid": thumbprint("new")}


def test_the_first_key_signs_and_every_key_verifies(settings: Settings) -> None:
    settings.JWT_PRIVATE_KEY = PEMS["old"]
    before = jwt.sign(jwt.ACCESS, claims())
    settings.JWT_PRIVATE_KEY = PEMS["new"] + PEMS["old"]
    assert jwt.read(jwt.ACCESS, before)
    after = jwt.sign(jwt.ACCESS, claims())
    settings.JWT_PRIVATE_KEY = PEMS["new"]
    assert jwt.read(jwt.ACCESS, after)
    with pytest.raises(InvalidToken):
        jwt.read(jwt.ACCESS, before)


def test_the_key_set_is_public_and_sorted_like_the_ring() -> None:
    keys = jwt.public_keys()["keys"]
    assert [key["kid"] for key in keys] == [thumbprint("new"), thumbprint("old")]
    for key in keys:
        assert set(key) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
    token = jwt.sign(jwt.ACCESS, claims())
    # The key set is enough to verify a token.
    key = pyjwt.PyJWK(keys[0]).key
    assert pyjwt.decode(token, key, algorithms=["ES256"], audience="focus-api")


@pytest.mark.parametrize(
    ("kind", "other"), [(jwt.ACCESS, jwt.REFRESH), (jwt.REFRESH, jwt.ACCESS)]
)
def test_a_token_of_one_type_is_refused_as_another(kind: Any, other: Any) -> None:
    with pytest.raises(InvalidToken):
        jwt.read(other, jwt.sign(kind, claims()))


@pytest.mark.parametrize("lost", ["sub", "sid", "jti", "iat", "exp"])
def test_a_token_without_a_required_claim_is_refused(lost: str) -> None:
    said = claims()
    del said[lost]
    with pytest.raises(InvalidToken):
        jwt.read(jwt.ACCESS, jwt.sign(jwt.ACCESS, said))


def test_an_expired_token_and_a_forged_one_raise_different_errors() -> None:
    old = jwt.sign(jwt.ACCESS, claims(exp=int(time.time()) - 1))
    with pytest.raises(TokenExpired):
        jwt.read(jwt.ACCESS, old)
    # An expired forgery is a forgery.
    head, body, signature = old.split(".")
    other = jwt.sign(jwt.ACCESS, claims()).split(".")[2]
    with pytest.raises(InvalidToken):
        jwt.read(jwt.ACCESS, f"{head}.{body}.{other}")
    assert signature != other


def hand_made(header: dict[str, Any], key: Any, alg: str | None, **said: Any) -> str:
    body = {**claims(), "aud": "focus-api", "iss": "http://localhost:8000", **said}
    return pyjwt.encode(body, key, algorithm=alg, headers=header)


def test_forged_tokens_are_refused() -> None:
    good = {"kid": thumbprint("new"), "typ": "at+jwt"}
    mine, theirs = KEYS["new"], ec.generate_private_key(ec.SECP256R1())
    rsa_key = rsa.generate_private_key(65537, 2048)
    public = mine.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    real = hand_made(good, mine, "ES256")
    assert jwt.read(jwt.ACCESS, real)
    # Built by hand, because PyJWT refuses to sign it.
    head = _encode(json.dumps({**good, "alg": "HS256"}).encode())
    hs256 = f"{head}.{real.split('.')[1]}"
    mac = hmac.digest(public, hs256.encode(), "sha256")
    forged = {
        "another key": hand_made(good, theirs, "ES256"),
        "no signature": hand_made(good, None, "none"),
        "our public key as a secret": f"{hs256}.{_encode(mac)}",
        "RSA": hand_made(good, rsa_key, "RS256"),
        "no kid": hand_made({"typ": "at+jwt"}, mine, "ES256"),
        "unknown kid": hand_made({**good, "kid": "x"}, mine, "ES256"),
        "the other key's kid": hand_made(
            {**good, "kid": thumbprint("old")}, mine, "ES256"
        ),
        "plain JWT": hand_made({**good, "typ": "JWT"}, mine, "ES256"),
        "a key of its own": hand_made(
            {**good, "kid": "x", "jwk": jwt.public_keys()["keys"][0]}, theirs, "ES256"
        ),
        "another audience": hand_made(good, mine, "ES256", aud="other"),
        "another issuer": hand_made(good, mine, "ES256", iss="https://evil.example"),
        "tomorrow's": hand_made(good, mine, "ES256", iat=int(time.time()) + 86400),
        "not yet": hand_made(good, mine, "ES256", nbf=int(time.time()) + 86400),
        "sub a number": hand_made(good, mine, "ES256", sub=7),
        "exp a word": hand_made(good, mine, "ES256", exp="soon"),
    }
    for name, token in forged.items():
        try:
            jwt.read(jwt.ACCESS, token)
        except InvalidToken:
            continue
        pytest.fail(f"accepted: {name}")


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "ES256", "kid": ["a"], "typ": "at+jwt"},
        {"alg": "ES256", "kid": {"a": 1}, "typ": "at+jwt"},
        {"alg": "ES256", "kid": None, "typ": "at+jwt"},
        {"alg": 1},
        [],
        "x",
        None,
    ],
)
def test_a_malformed_header_is_refused(header: Any) -> None:
    raw = _encode(json.dumps(header).encode())
    good = jwt.sign(jwt.ACCESS, claims())
    with pytest.raises(InvalidToken):
        jwt.read(jwt.ACCESS, f"{raw}.{good.split('.', 1)[1]}")


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "é.é.é", "a" * 100_000, "…"])
def test_random_text_is_refused(token: str) -> None:
    with pytest.raises(InvalidToken):
        jwt.read(jwt.ACCESS, token)


def test_a_setting_without_p256_keys_is_refused(
    settings: Settings,
) -> None:
    other = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for wrong in ("", "not a key", other.decode()):
        settings.JWT_PRIVATE_KEY = wrong
        with pytest.raises(ImproperlyConfigured):
            jwt.sign(jwt.ACCESS, claims())


def thumbprint(name: str) -> str:
    """Return the RFC 7638 thumbprint, computed from PyJWT's JWK."""
    jwk = pyjwt.algorithms.ECAlgorithm.to_jwk(KEYS[name].public_key(), as_dict=True)
    members = {field: jwk[field] for field in ("crv", "kty", "x", "y")}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
    return _encode(hashlib.sha256(canonical).digest())


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
