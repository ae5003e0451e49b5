"""Our own JWTs: signed with ES256 and a ring of keys, with a type that is checked.

djangorestframework-simplejwt is the codec. Its backend supports neither `kid` nor `typ`
nor key rotation, so this module adds them. Its views and its blacklist are not used: on
PostgreSQL they allow one refresh token to be exchanged several times.
"""

import base64
import hashlib
import json
import re
from functools import lru_cache
from typing import Any, Final, Literal

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from rest_framework_simplejwt.backends import TokenBackend

from accounts.credentials.principals import (
    InvalidToken,
    MalformedToken,
    TokenEnded,
    TokenExpired,
)

ALGORITHM = "ES256"
AUDIENCE = "focus-api"
# RFC 9068 defines the first type; the refresh type is named after it.
ACCESS: Final = "at+jwt"
REFRESH: Final = "rt+jwt"
# A buyer's token for a tool. The tool's vendor receives it, so it has an audience of
# its own. A server that verifies access tokens and forgets the type then refuses it
# too.
TOOL: Final = "tool+jwt"
Type = Literal["at+jwt", "rt+jwt", "tool+jwt"]

_AUDIENCES = {ACCESS: AUDIENCE, REFRESH: AUDIENCE, TOOL: "focus-tool"}
_ALWAYS = ["iss", "aud", "sub", "jti", "iat", "exp"]
_REQUIRED = {
    ACCESS: [*_ALWAYS, "sid"],
    REFRESH: [*_ALWAYS, "sid"],
    TOOL: [*_ALWAYS, "tool", "checkout"],
}
_PEM = re.compile(r"-----BEGIN [A-Z ]+-----.+?-----END [A-Z ]+-----", re.DOTALL)


def sign(kind: Type, claims: dict[str, Any]) -> str:
    """Sign `claims` as a token of `kind`. Adds the issuer and the audience."""
    return _backend(kind).encode(claims)


def read(kind: Type, token: str) -> dict[str, Any]:
    """Return the claims of a token of exactly this `kind` that we signed. No query.

    Raises `TokenExpired` for an expired token and `InvalidToken` for every other fault.
    Only a wrong signature or an unknown key counts as a guess. Text that is no JWT
    raises `MalformedToken`; a genuine token of another type raises `TokenEnded`.
    """
    return _backend(kind).decode(token)


def public_keys() -> dict[str, list[dict[str, str]]]:
    """Return the JWKS: the public keys of the ring."""
    ring = _ring(settings.JWT_PRIVATE_KEY)
    return {"keys": [_jwk(kid, key.public_key()) for kid, key in ring.items()]}


class _Backend(TokenBackend):
    """simplejwt's backend for one token type, over a ring of keys."""

    def __init__(self, kind: Type, pems: str, issuer: str) -> None:
        super().__init__(ALGORITHM, audience=_AUDIENCES[kind], issuer=issuer)
        ring = _ring(pems)
        self.kind: Type = kind
        self.kid, self.private_key = next(iter(ring.items()))
        self.public_keys = {kid: key.public_key() for kid, key in ring.items()}

    def encode(self, payload: dict[str, Any]) -> str:
        return jwt.encode(
            {**payload, "aud": self.audience, "iss": self.issuer},
            self.private_key,
            algorithm=ALGORITHM,
            headers={"kid": self.kid, "typ": self.kind},
        )

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            key = self.public_keys.get(header.get("kid", ""))
            if key is None:
                raise InvalidToken("The token is invalid.")
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self.audience,
                issuer=self.issuer,
                options={"require": _REQUIRED[self.kind]},
            )
        except jwt.ExpiredSignatureError as expired:
            raise TokenExpired("The token has expired.") from expired
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError) as forged:
            raise InvalidToken("The token is invalid.") from forged
        # A `kid` that is a list, or digits without end, are the sender's fault too.
        except (jwt.DecodeError, TypeError, ValueError) as broken:
            raise MalformedToken("The token is invalid.") from broken
        # PyJWT reads the claims only after the signature was right.
        except jwt.InvalidTokenError as unfit:
            raise TokenEnded("The token is invalid.") from unfit
        if header.get("typ") != self.kind:
            raise TokenEnded("The token is invalid.")
        return claims


def _backend(kind: Type) -> _Backend:
    return _backend_for(kind, settings.JWT_PRIVATE_KEY, settings.PUBLIC_BASE_URL)


@lru_cache(maxsize=16)
def _backend_for(kind: Type, pems: str, issuer: str) -> _Backend:
    return _Backend(kind, pems, issuer)


@lru_cache(maxsize=4)
def _ring(pems: str) -> dict[str, ec.EllipticCurvePrivateKey]:
    """Return the keys of the setting by `kid`, in order. The first one signs."""
    ring = {}
    for pem in _PEM.findall(pems):
        key = serialization.load_pem_private_key(pem.encode(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(
            key.curve, ec.SECP256R1
        ):
            raise ImproperlyConfigured("JWT_PRIVATE_KEY must hold P-256 keys (ES256).")
        ring[_thumbprint(key.public_key())] = key
    if not ring:
        raise ImproperlyConfigured("JWT_PRIVATE_KEY holds no PEM private key.")
    return ring


def _thumbprint(key: ec.EllipticCurvePublicKey) -> str:
    """Return the RFC 7638 thumbprint: a `kid` that needs no setting of its own."""
    canonical = json.dumps(_point(key), separators=(",", ":"), sort_keys=True)
    return _base64url(hashlib.sha256(canonical.encode()).digest())


def _jwk(kid: str, key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    return {**_point(key), "kid": kid, "alg": ALGORITHM, "use": "sig"}


def _point(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    numbers = key.public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "x": _base64url(numbers.x.to_bytes(32, "big")),
        "y": _base64url(numbers.y.to_bytes(32, "big")),
    }


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
