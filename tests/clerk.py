"""The client of the Clerk stub, and session tokens that it would sign."""

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.clerk_stub import SECRET_KEY, pem_of
from tests.processes import free_port, running, until

ISSUER = "https://clerk.thefocus.ai"
PUBLISHABLE_KEY = "pk_test_Y2xlcmsudGhlZm9jdXMuYWkk"
GONE = object()
# A key outside of the stub, for tests that need no stub.
SIGNER = pem_of(rsa.generate_private_key(65537, 2048))


class Clerk:
    """A running stub. After `reset` it has one published key and no users."""

    secret_key = SECRET_KEY

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self.jwks_url = f"{self.base}/.well-known/jwks.json"

    def reset(self) -> None:
        self._tell("reset")

    def rotate(self) -> None:
        self._tell("rotate")

    def mode(self, **modes: str) -> None:
        """Set how `jwks`, `api` or `x` fail (see the stub); "" means normal."""
        self._tell("set", modes=modes)

    def knows(
        self,
        clerk_id: str,
        *addresses: tuple[str, str],
        primary: int = 0,
        **more: Any,
    ) -> None:
        """Add a user with these pairs of address and verification status."""
        listed = [
            {
                "id": f"idn_{place}",
                "object": "email_address",
                "email_address": address,
                "verification": {"status": status, "strategy": "email_code"},
            }
            for place, (address, status) in enumerate(addresses)
        ]
        person = {
            "id": clerk_id,
            "object": "user",
            "first_name": "Ann",
            "last_name": "Lee",
            "primary_email_address_id": f"idn_{primary}" if addresses else None,
            "email_addresses": listed,
            **more,
        }
        self._tell("set", users={clerk_id: person})

    def linked(self, clerk_id: str, provider: str, answer: Any) -> None:
        """Set a user's linked tokens: a list of Clerk's tokens, or an error code."""
        self._tell("set", tokens={f"{clerk_id}/oauth_{provider}": answer})

    def x_knows(self, token: str, body: Any, status: int = 200) -> None:
        self._tell("set", x={token: {"body": body, "status": status}})

    def asked(self, path: str = "/") -> list[dict[str, Any]]:
        """Return the requests so far with this path prefix."""
        return [it for it in self._tell("asked") if it["path"].startswith(path)]

    def token(self, **changes: Any) -> str:
        """Return a session token, signed by the current key."""
        key = self._tell("key")
        return session_token(key["pem"], kid=key["kid"], **changes)

    def public_pem(self) -> str:
        return public_pem(self._tell("key")["pem"])

    def _tell(self, what: str, **said: Any) -> Any:
        request = Request(f"{self.base}/stub/{what}", json.dumps(said).encode())
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)


def session_token(
    pem: str,
    *,
    kid: str = "ins_1",
    headers: dict[str, Any] | None = None,
    algorithm: str = "RS256",
    **changes: Any,
) -> str:
    """Return a version 2 session token of Clerk. `GONE` omits a claim."""
    now = int(time.time())
    claims = {
        "azp": "https://video.thefocus.ai",
        "exp": now + 60,
        "fva": [0, -1],
        "iat": now,
        "iss": ISSUER,
        "jti": "0123456789abcdef",
        "nbf": now - 10,
        "sid": "sess_1",
        "sts": "active",
        "sub": "user_2ann",
        "v": 2,
    } | changes
    whole = {name: value for name, value in claims.items() if value is not GONE}
    header = {"cat": "cl_B7d4PD111AAA", "kid": kid, "typ": "JWT"} | (headers or {})
    about = {name: value for name, value in header.items() if value is not GONE}
    return jwt.encode(whole, pem, algorithm=algorithm, headers=about)


def public_pem(pem: str) -> str:
    private = serialization.load_pem_private_key(pem.encode(), None)
    return (
        private.public_key()
        .public_bytes(
            serialization.Encoding.PEM,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        )
        .decode()
    )


def cookie_suffix(publishable_key: str) -> str:
    """Return the suffix that clerk-js gives its cookies."""
    digest = hashlib.sha1(publishable_key.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode()[:8]


@contextmanager
def stub(log: Path) -> Iterator[Clerk]:
    port = free_port()
    clerk = Clerk(port)
    with running("tests.clerk_stub", str(port), log=log):
        until(lambda: _answers(clerk))
        yield clerk


def _answers(clerk: Clerk) -> bool:
    try:
        clerk.reset()
    except OSError:
        return False
    return True
