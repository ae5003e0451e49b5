"""Encryption at rest for secrets that we must read again. Each purpose has its key.

Secrets that we only compare are stored as a digest instead: see
`accounts.credentials.opaque`.
"""

import base64
import hashlib
import hmac
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class Unreadable(Exception):
    """The key is not configured, the purpose differs, or the bytes are not ours."""


def seal(secret: bytes, *, purpose: str) -> bytes:
    """Encrypt `secret`. Only `unseal` with the same `purpose` can decrypt it."""
    return _cipher(purpose).encrypt(secret)


def unseal(sealed: bytes, *, purpose: str) -> bytes:
    """Decrypt what `seal` returned. Raises `Unreadable`."""
    try:
        return _cipher(purpose).decrypt(bytes(sealed))
    except InvalidToken as broken:
        raise Unreadable(f"No key of SEALING_KEY opens this {purpose}.") from broken


def _cipher(purpose: str) -> MultiFernet:
    return _cipher_of(tuple(settings.SEALING_KEYS), purpose)


@lru_cache(maxsize=32)
def _cipher_of(keys: tuple[str, ...], purpose: str) -> MultiFernet:
    """Return a cipher that encrypts with the first key and decrypts with any key."""
    return MultiFernet([_derived(key, purpose) for key in keys])


def _derived(key: str, purpose: str) -> Fernet:
    digest = hmac.digest(key.encode(), purpose.encode(), hashlib.sha256)
    return Fernet(base64.urlsafe_b64encode(digest))
