"""The files in an S3 bucket, by django-storages.

An upload lands in a local temporary file first, so that its size and type are known
before S3 sees it, and then goes to the bucket.
"""

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from django.core.files import File
from storages.backends.s3 import S3Storage

from focus.bodies.arrivals import PIECE_BYTES, Arrival
from jobs.files.pieces import Pieces


class BucketStorage(S3Storage):
    """The S3 storage, with the calls that `jobs.files.storage` needs."""

    def adopt(self, arrival: Arrival, key: str, *, content_type: str) -> None:
        """Store an arrival. S3 shows an object only when it is complete."""
        with arrival.open() as content:
            file = File(content, name=key)
            file.content_type = content_type  # type: ignore[attr-defined]
            self.save(key, file)

    def read(self, key: str, *, start: int, end: int) -> Pieces:
        """Read the bytes from `start` up to, not including, `end`, in pieces.

        Raises FileNotFoundError at once if the object is gone.
        """
        if start >= end:
            return Pieces(lambda _size: b"", lambda: None, 0)
        body = self._get(key, Range=f"bytes={start}-{end - 1}")
        return Pieces(body.read, body.close, end - start)

    def copy_to(self, key: str, target: Path) -> None:
        """Download the object to `target`."""
        body = self._get(key)
        with contextlib.closing(body), target.open("xb") as file:
            for piece in body.iter_chunks(PIECE_BYTES):
                file.write(piece)

    def remove(self, key: str) -> None:
        """Remove the object. One that is gone already is no error."""
        self._client.delete_object(Bucket=self.bucket_name, Key=key)

    def has(self, key: str) -> bool:
        try:
            self._client.head_object(Bucket=self.bucket_name, Key=key)
        except ClientError as failure:
            if _is_missing(failure):
                return False
            raise
        return True

    def keys(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """Yield each key of the folder `prefix`, with the time of its last change."""
        for found in self.bucket.objects.filter(Prefix=f"{prefix}/"):
            yield found.key, found.last_modified

    def _get(self, key: str, **more: str) -> Any:
        try:
            return self._client.get_object(Bucket=self.bucket_name, Key=key, **more)[
                "Body"
            ]
        except ClientError as failure:
            if _is_missing(failure):
                raise FileNotFoundError(key) from failure
            raise

    @property
    def _client(self) -> Any:
        return self.connection.meta.client


def _is_missing(failure: ClientError) -> bool:
    status: int = failure.response["ResponseMetadata"]["HTTPStatusCode"]
    return status == 404
