"""What the signed addresses of uploads and downloads share.

Django's TimestampSigner signs with SECRET_KEY and also accepts SECRET_KEY_FALLBACKS, so
a new key ends no address. Each kind of address has a salt of its own: an address for a
download is none for an upload.
"""

import base64
import uuid

from focus.errors import DomainError


class AddressExpired(DomainError):
    """The address was signed too long ago."""

    code = "address_expired"


class AddressInvalid(DomainError):
    """The signature does not fit: the address was changed, or is not ours."""

    code = "address_invalid"


def pack(file_id: uuid.UUID) -> str:
    """Return an id in 22 characters that an address may hold."""
    return base64.urlsafe_b64encode(file_id.bytes).rstrip(b"=").decode()


def unpack(text: str) -> uuid.UUID:
    """Return the id that `pack` wrote. The signature proves that `text` is ours."""
    return uuid.UUID(bytes=base64.urlsafe_b64decode(f"{text}=="))
