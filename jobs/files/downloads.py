"""Signed download addresses, and which bytes of a file an answer carries.

An address is its own credential: a player or an <img> opens it without headers. Its
signature covers the file, the time and the name, so none of them can be changed.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote

from django.conf import settings
from django.core import signing

from focus.errors import DomainError, NotFound
from jobs.files import addresses, content_types, quotas
from jobs.files.storage import clean_name
from jobs.models import StoredFile

# How long an address works.
GET_LIFETIME = timedelta(hours=24)
# What a browser may show in its window. HTML and SVG run scripts, so they never are.
INLINE = frozenset([*content_types.IMAGES, *content_types.VIDEOS, content_types.SRT])
_SALT = "focus.files.get"


def address(file: StoredFile, *, name: str | None = None) -> str:
    """Return the absolute address of an arrived file, which works for `GET_LIFETIME`.

    `name` is what a download is called, the file's own name if none is given.
    """
    plain = clean_name(file.name if name is None else name)
    token = addresses.sign(file.pk, _signer(plain))
    return f"{settings.PUBLIC_BASE_URL}/files/{token}/{quote(plain, safe='')}"


def opened(token: str, name: str) -> StoredFile:
    """Return the file of an address. One query.

    Raises `AddressInvalid`, `AddressExpired`, and `NotFound` for a file that was
    deleted, has expired or has not arrived, and for a closed account.
    """
    file_id = addresses.unsign(
        token, _signer(name), lifetime=GET_LIFETIME, noun="address"
    )
    found = StoredFile.objects.filter(pk=file_id, arrived_at__isnull=False)
    file = found.filter(quotas.LIVE, account__is_active=True).first()
    if file is None:
        raise NotFound("This file does not exist any more.")
    return file


def _signer(name: str) -> signing.TimestampSigner:
    return signing.TimestampSigner(salt=f"{_SALT}:{name}", sep=".")


# --- ranges (RFC 9110, 13 and 14) -----------------------------------------------------

_RANGE = re.compile(r"bytes=\s*(\d{0,19})-(\d{0,19})\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes from `start` up to, not including, `end`, of `size`."""

    start: int
    end: int
    size: int

    @property
    def is_whole(self) -> bool:
        return self.start == 0 and self.end == self.size

    @property
    def content_range(self) -> str:
        return f"bytes {self.start}-{self.end - 1}/{self.size}"


class RangeNotSatisfiable(DomainError):
    """The range begins after the end of the file."""

    code = "range_not_satisfiable"


def etag(file: StoredFile) -> str:
    """Return the strong entity tag of an arrived file: its content's digest."""
    return f'"{bytes(file.sha256 or b"").hex()}"'


def is_named(tag: str, header: str) -> bool:
    """Whether an If-None-Match header names `tag`, compared weakly."""
    names = [name.strip().removeprefix("W/") for name in header.split(",")]
    return "*" in names or tag in names


def wanted_part(file: StoredFile, *, range_header: str, if_range: str) -> Part | None:
    """Return the part that the headers ask for, or None for the whole file.

    A range of another unit, several ranges and a malformed one mean the whole file, as
    RFC 9110 allows; so does an If-Range with another tag than the file's, or a date.
    Raises `RangeNotSatisfiable`.
    """
    size = file.size or 0
    asked = _RANGE.fullmatch(range_header.strip())
    if asked is None or (if_range and if_range.strip() != etag(file)):
        return None
    first, last = asked.groups()
    if first == last == "" or (first and last and int(first) > int(last)):
        return None
    if not first:
        length = min(int(last), size)
        start, end = size - length, size
    else:
        start = int(first)
        end = min(int(last) + 1, size) if last else size
    if start >= end:
        raise RangeNotSatisfiable(f"The file has {size} bytes.", size=size)
    return Part(start, end, size)
