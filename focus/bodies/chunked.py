"""Requests with a chunked body, which has no Content-Length.

The usual clients of .NET and Go send JSON like that. Django reads no body without a
length, so the length is measured when a view first reads the body.
"""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.handlers.wsgi import WSGIRequest


class Request(WSGIRequest):
    """Django's request, which also reads chunked bodies."""

    def __init__(self, environ: dict[str, Any]) -> None:
        super().__init__(environ)
        chunked = "HTTP_TRANSFER_ENCODING" in environ
        self._unmeasured = chunked and not environ.get("CONTENT_LENGTH")
        if self._unmeasured:
            self._stream = environ["wsgi.input"]

    def measure(self) -> None:
        """Read a chunked body into memory and set its length.

        Raises `RequestDataTooBig`, and the errors of `wsgi.input`.
        """
        if not self._unmeasured:
            return
        most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = self.read(most + 1)
        self._unmeasured = False
        self._read_started = False
        self._stream = BytesIO(body)
        self.META["CONTENT_LENGTH"] = str(len(body))
        if len(body) > most:
            raise RequestDataTooBig("Transfer-Encoding: chunked")

    def stream(self, *, most: int) -> None:
        """Let the view read a chunked body piece by piece, `most` bytes of it.

        A further byte raises `RequestDataTooBig`. Django and DRF take a body without a
        length for empty, so the length becomes `most`, and `is_measured` stays False.
        """
        if self._unmeasured and not isinstance(self._stream, _Limited):
            self._stream: Any = _Limited(self._stream, most)
            self.META["CONTENT_LENGTH"] = str(most)

    @property
    def is_measured(self) -> bool:
        """Whether Content-Length is the sender's own."""
        return not self._unmeasured

    @property
    def body(self) -> bytes:
        self.measure()
        return super().body

    def _load_post_and_files(self) -> None:
        self.measure()
        super()._load_post_and_files()


def measure(request: Any) -> None:
    """Call `Request.measure`, unless the request is one of Django's test client."""
    if isinstance(request, Request):
        request.measure()


def stream(request: Any, *, most: int) -> None:
    """Call `Request.stream`, unless the request is one of Django's test client."""
    if isinstance(request, Request):
        request.stream(most=most)


def announced_length(request: Any) -> int | None:
    """Return the length that the sender announced; None for a chunked body."""
    if isinstance(request, Request) and not request.is_measured:
        return None
    return int(request.META.get("CONTENT_LENGTH") or 0)


def pieces(request: Any, size: int) -> Iterator[bytes]:
    """Read a body in pieces of at most `size`. Raises the errors of `wsgi.input`."""
    while piece := request.read(size):
        yield piece


class _Limited:
    """A stream that refuses to give more than `most` bytes."""

    def __init__(self, stream: Any, most: int) -> None:
        self._stream, self._left = stream, most

    def read(self, size: int = -1) -> bytes:
        # One byte more than allowed says that the body is too large.
        wanted = self._left + 1 if size is None or size < 0 else size
        piece: bytes = self._stream.read(min(wanted, self._left + 1))
        return self._counted(piece)

    def readline(self, size: int = -1) -> bytes:
        wanted = self._left + 1 if size is None or size < 0 else size
        piece: bytes = self._stream.readline(min(wanted, self._left + 1))
        return self._counted(piece)

    def _counted(self, piece: bytes) -> bytes:
        if len(piece) > self._left:
            raise RequestDataTooBig("Transfer-Encoding: chunked")
        self._left -= len(piece)
        return piece
