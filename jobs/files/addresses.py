"""What the signed addresses of uploads and downloads share.

Django's TimestampSigner signs with SECRET_KEY and also accepts SECRET_KEY_FALLBACKS, so
a new key ends no address. Each kind of address has a salt of its own: an address for a
download is none for an upload.
"""

import base64
import uuid
from datetime import timedelta

from django.core import signing

from focus.errors import DomainError


class AddressExpired(DomainError):
    """The address was signed too long ago."""

    code = "address_expired"


class AddressInvalid(DomainError):
    """The signature does not fit: the address was changed, or is not ours."""

    code = "address_invalid"


def sign(file_id: uuid.UUID, signer: signing.TimestampSigner) -> str:
    """Return the token of a file's address. It holds the id in 22 characters."""
    packed = base64.urlsafe_b64encode(file_id.bytes).rstrip(b"=").decode()
    return signer.sign(packed)


def unsign(
    token: str, signer: signing.TimestampSigner, *, lifetime: timedelta, noun: str
) -> uuid.UUID:
    """Return the id of a token that `sign` made at most `lifetime` ago.

    Raises `AddressExpired` and `AddressInvalid`, which call the address a `noun`.
    """
    try:
        packed = signer.unsign(token, max_age=lifetime)
    except signing.SignatureExpired:
        raise AddressExpired(f"This {noun} has expired. Ask for a new one.") from None
    except signing.BadSignature:
        raise AddressInvalid(f"This {noun} is not valid. Ask for a new one.") from None
    return uuid.UUID(bytes=base64.urlsafe_b64decode(f"{packed}=="))
