"""Uploads: limited and checked while they arrive, then stored whole or not at all."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.core import signing

from focus.bodies.arrivals import Arrival, require_disk, too_large
from focus.errors import DomainError, NotFound
from jobs.files import addresses, content_types, quotas, storage
from jobs.files.content_types import Sniffer
from jobs.files.storage import AlreadyArrived
from jobs.models import StoredFile

# How long a signed address for an upload works.
PUT_LIFETIME = timedelta(hours=1)
# How much of a file decides its type. All signatures are in the first bytes.
DECIDING_BYTES = 512
_PUT = signing.TimestampSigner(salt="focus.files.put", sep=".")


class WrongFileType(DomainError):
    """The content is of no accepted type. Facts: `accepted`."""

    code = "wrong_file_type"


class BodyTooShort(DomainError):
    """The body ended before its Content-Length."""

    code = "body_too_short"


def receive(
    chunks: Iterable[bytes],
    *,
    file: StoredFile,
    accepts: Mapping[str, Sniffer],
    length: int | None = None,
) -> StoredFile:
    """Take the content of an expected file from `chunks`; returns the file, arrived.

    `accepts` names the content types it may have, each with a test of its first bytes.
    `length` is what the sender announced, if it did. Raises, and then nothing is
    stored: `FileTooLarge` with the first byte too many, `WrongFileType` as soon as the
    first bytes are there, `BodyTooShort`, `DiskLow`, `AlreadyArrived`, `NotFound`,
    `StorageFailed`. The row stays, so the sender may try again. Must not be called in a
    transaction.
    """
    with Arrival(most_bytes=file.most_bytes) as arrival:
        decided: str | None = None
        for piece in chunks:
            arrival.write(piece)
            if decided is None and arrival.size >= DECIDING_BYTES:
                decided = require_type(arrival.head, accepts)
        if length is not None and arrival.size < length:
            raise BodyTooShort(
                f"The body ended after {arrival.size} of {length} bytes. Send it again."
            )
        content_type = decided or require_type(arrival.head, accepts)
        return storage.store(arrival, file=file, content_type=content_type)


def require_declared(file: StoredFile, content_type: str) -> None:
    """Raise `WrongFileType` if a Content-Type header names another type than the file.

    Signed uploads bind it, as S3 does. An absent header is right.
    """
    declared = content_type.partition(";")[0].strip().lower()
    if declared and declared != file.content_type:
        raise WrongFileType(
            f"This address was signed for {file.content_type}, not {declared[:100]}.",
            accepted=[file.content_type],
        )


def require_length(file: StoredFile, length: int | None) -> None:
    """Raise `FileTooLarge` or `DiskLow` before a body of this length is read."""
    if length is not None and length > file.most_bytes:
        raise too_large(file.most_bytes)
    require_disk(size=file.most_bytes if length is None else length)


def require_type(head: bytes, accepts: Mapping[str, Sniffer]) -> str:
    """Return the content type of a file that begins with `head`, or raise."""
    found = content_types.decide(head, accepts)
    if found is None:
        accepted = list(accepts)
        raise WrongFileType(
            f"The file's content is none of: {', '.join(accepted) or 'nothing'}.",
            accepted=accepted,
        )
    return found


def take(
    arrival: Arrival,
    *,
    account_id: uuid.UUID,
    purpose: str,
    name: str,
    content_type: str,
    due_at: datetime | None = None,
) -> StoredFile:
    """Store a whole file that a multipart form brought; returns it, arrived.

    The caller has checked the content's type (`require_type`). The file is removed at
    `due_at`, in an hour if none is given, unless `storage.keep` is called. Raises what
    `storage.expect` and `storage.store` raise, and then nothing is stored. Must not be
    called in a transaction.
    """
    file = storage.expect(
        account_id=account_id,
        purpose=purpose,
        name=name,
        content_type=content_type,
        most_bytes=arrival.size,
        due_at=due_at,
    )
    try:
        return storage.store(arrival, file=file, content_type=content_type)
    except BaseException:
        storage.forget([file.pk])
        raise


# --- signed addresses -----------------------------------------------------------------


def sign_put(file: StoredFile) -> str:
    """Return the address to which anyone may PUT the content of an expected file.

    It works for `PUT_LIFETIME`, until the content has arrived. The file must be due no
    earlier than that.
    """
    token = addresses.sign(file.pk, _PUT)
    return f"{settings.PUBLIC_BASE_URL}/files/upload/{token}"


def expected(token: str) -> StoredFile:
    """Return the file that this token lets anyone PUT.

    Raises `AddressExpired`, `AddressInvalid`, `AlreadyArrived`, and `NotFound` for a
    file that was deleted or a closed account.
    """
    file_id = addresses.unsign(
        token, _PUT, lifetime=PUT_LIFETIME, noun="upload address"
    )
    found = StoredFile.objects.filter(quotas.LIVE, pk=file_id)
    file = found.filter(account__is_active=True).first()
    if file is None:
        raise NotFound("This upload does not exist any more.")
    if file.arrived_at is not None:
        raise AlreadyArrived(
            "This upload address has been used. Ask for a new one for another file."
        )
    return file
