"""A software authenticator: makes key pairs and signs as a browser would.

A test can forge each part: origin, flags, counter, client data, user handle.
"""

import hashlib
import json
import os
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

UP, UV, BE, BS, AT = 1, 4, 8, 16, 64


def b64(raw: bytes) -> str:
    """Encode as base64url without padding, as browsers do."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Authenticator:
    """One key pair. Each use adds `step` to the counter; synced passkeys add 0."""

    rp_id: str = "localhost"
    origin: str = "http://localhost:8000"
    uv: bool = True
    be: bool = True
    bs: bool = True
    counter: int = 0
    step: int = 0
    credential_id: bytes = field(default_factory=lambda: os.urandom(32))
    user_handle: bytes = b""
    key: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def cose(self) -> dict[int, Any]:
        numbers = self.key.public_key().public_numbers()
        x, y = numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")
        return {1: 2, 3: -7, -1: 1, -2: x, -3: y}

    def create(
        self,
        options: dict[str, Any],
        *,
        cose: dict[int, Any] | None = None,
        typ: str = "webauthn.create",
        **said: Any,
    ) -> dict[str, Any]:
        """Answer the options of a `register/begin`, in the guide's flat form."""
        self.user_handle = unb64(options["user"]["id_b64"])
        attested = (
            b"\0" * 16
            + struct.pack(">H", len(self.credential_id))
            + self.credential_id
            + cbor2.dumps(self.cose if cose is None else cose)
        )
        attestation = {
            "fmt": "none",
            "attStmt": {},
            "authData": self._data(AT) + attested,
        }
        return {
            "clientDataJSON": b64(self._client_data(typ, options, said)),
            "attestationObject": b64(cbor2.dumps(attestation)),
        }

    def get(
        self, options: dict[str, Any], *, typ: str = "webauthn.get", **said: Any
    ) -> dict[str, Any]:
        """Answer the options of a `login/begin`, in the guide's flat form."""
        self.counter += self.step
        client_data = self._client_data(typ, options, said)
        data = self._data()
        signed = data + hashlib.sha256(client_data).digest()
        return {
            "id": b64(self.credential_id),
            "clientDataJSON": b64(client_data),
            "authenticatorData": b64(data),
            "signature": b64(self.key.sign(signed, ec.ECDSA(hashes.SHA256()))),
        }

    def nested(self, flat: dict[str, Any], *, handle: bool = True) -> dict[str, Any]:
        """Return the format of `PublicKeyCredential.toJSON()`."""
        own = b64(self.credential_id)
        response = {name: part for name, part in flat.items() if name != "id"}
        if "signature" in flat:
            response["userHandle"] = b64(self.user_handle) if handle else None
        else:
            response["transports"] = ["internal", "hybrid", "smoke-signals"]
        return {
            "id": own,
            "rawId": own,
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": response,
        }

    def _data(self, more: int = 0) -> bytes:
        flags = UP | more | UV * self.uv | BE * self.be | BS * self.bs
        rp = hashlib.sha256(self.rp_id.encode()).digest()
        return rp + bytes([flags]) + struct.pack(">I", self.counter)

    def _client_data(
        self, typ: str, options: dict[str, Any], said: dict[str, Any]
    ) -> bytes:
        whole = {
            "type": typ,
            "challenge": options["challenge_b64"],
            "origin": self.origin,
            "crossOrigin": False,
        }
        return json.dumps(whole | said, separators=(",", ":")).encode()
