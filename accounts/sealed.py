"""Secrets that we must be able to read again: encrypted at rest, one key a purpose.

A secret that only has to be recognised is kept as a digest instead:
`accounts.credentials.opaque`.
"""

import base64
import hashlib
import hmac
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class Unreadable(Exception):
    """Sealed with a key that is gone, for another purpose, or not by us."""


def seal(secret: bytes, *, purpose: str) -> bytes:
    """Encrypt `secret`; only `unseal` with the same `purpose` reads it again."""
    return _cipher(purpose).encrypt(secret)


def unseal(sealed: bytes, *, purpose: str) -> bytes:
    """What was sealed. Raises `Unreadable`."""
    try:
        return _cipher(purpose).decrypt(bytes(sealed))
    except InvalidToken as broken:
        raise Unreadable(f"No key of SEALING_KEY opens this {purpose}.") from broken


def _cipher(purpose: str) -> MultiFernet:
    return _cipher_of(tuple(settings.SEALING_KEYS), purpose)


@lru_cache(maxsize=32)
def _cipher_of(keys: tuple[str, ...], purpose: str) -> MultiFernet:
    """The first key seals; each of them unseals."""
    return MultiFernet([_derived(key, purpose) for key in keys])


def _derived(key: str, purpose: str) -> Fernet:
    digest = hmac.digest(key.encode(), purpose.encode(), hashlib.sha256)
    return Fernet(base64.urlsafe_b64encode(digest))
