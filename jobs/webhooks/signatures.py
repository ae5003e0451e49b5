"""A delivery's signatures: one secret, two ways to check it.

`X-Signature` is the hex HMAC-SHA256 of the body, keyed with the secret as it is
written (ClipForge guide). `webhook-signature` is that of Standard Webhooks, keyed with
the bytes that the secret spells in base64 after `whsec_`.
"""

import base64
import hashlib
import hmac
import secrets
import uuid

PREFIX = "whsec_"


def new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def message_id(event_id: uuid.UUID) -> str:
    """The `webhook-id`: the same on every attempt, so that repeats can be told."""
    return f"evt_{event_id.hex}"


def headers(
    *, message: str, at: int, body: bytes, secret: str, next_secret: str | None = None
) -> dict[str, str]:
    """The signing headers of one attempt, made at `at` (unix seconds).

    During a rotation `X-Signature` is still the old secret's, since it can hold only
    one; `X-Signature-Next` is the new one's, and `webhook-signature` carries both.
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
