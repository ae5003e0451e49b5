"""Opaque secrets: the format of a token or key, and the digest that we store.

A secret is a prefix, 32 random Base62 characters (190 bits) and 6 characters of CRC32
over both. A mistyped or invented secret fails the checksum, so it costs no query.
"""

import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass, field

from django.conf import settings

PAT = "focus_pat_"
APP_KEY = "sk-tool-"
USER_KEY = "sk_live_"

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SPELLING = re.compile(r"[0-9A-Za-z]{38}")


@dataclass(frozen=True, slots=True)
class Secret:
    """A new secret. `text` is shown to its owner once and is never stored."""

    text: str = field(repr=False)
    prefix: str
    last4: str
    digest: bytes = field(repr=False)


def mint(prefix: str) -> Secret:
    """Create a new random secret with this prefix."""
    body = "".join(secrets.choice(_BASE62) for _ in range(32))
    text = f"{prefix}{body}{_checksum(prefix + body)}"
    return Secret(text, prefix, text[-4:], digest(text))


def is_well_formed(text: str, *, prefix: str) -> bool:
    """Return whether format and checksum are those of a secret with `prefix`."""
    body = text[len(prefix) :]
    return (
        text.startswith(prefix)
        and _SPELLING.fullmatch(body) is not None
        and text[-6:] == _checksum(text[:-6])
    )


def digest(text: str) -> bytes:
    """Return the keyed digest (HMAC) of a secret.

    The key is outside the database, so write access to the database is not enough to
    plant a secret.
    """
    return hmac.digest(settings.TOKEN_PEPPER.encode(), text.encode(), hashlib.sha256)


def _checksum(text: str) -> str:
    rest, out = zlib.crc32(text.encode()), ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        out = _BASE62[digit] + out
    return out
