"""The signatures of a delivery: two schemes with one secret.

`X-Signature` is the hex HMAC-SHA256 of the body, keyed with the secret's text
(ClipForge guide). `webhook-signature` follows Standard Webhooks; its key is the bytes
that the secret holds in base64 after `whsec_`.
"""

import base64
import hashlib
import hmac
import secrets
import uuid

PREFIX = "whsec_"


def new_secret() -> str:
    """Return a new random secret of 32 bytes, as `whsec_` and base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def message_id(event_id: uuid.UUID) -> str:
    """Return the `webhook-id` of an event.

    Every attempt carries the same one, so that a receiver can drop repeats.
    """
    return f"evt_{event_id.hex}"


def headers(
    *, message: str, at: int, body: bytes, secret: str, next_secret: str | None = None
) -> dict[str, str]:
    """Return the signing headers of an attempt made at `at`, in Unix seconds.

    During a rotation `X-Signature` is made with the old secret, because the header
    holds one signature. `X-Signature-Next` is made with the new secret, and
    `webhook-signature` carries both.
    """
    made = {
        "X-Signature": _hex(secret, body),
        "webhook-id": message,
        "webhook-timestamp": str(at),
        "webhook-signature": _standard(secret, message, at, body),
    }
    if next_secret is not None:
        made["X-Signature-Next"] = _hex(next_secret, body)
        made["webhook-signature"] += " " + _standard(next_secret, message, at, body)
    return made


def _hex(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _standard(secret: str, message: str, at: int, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = hmac.digest(key, f"{message}.{at}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(signed).decode()}"
