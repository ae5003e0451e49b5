"""Requests with a chunked body, which has no Content-Length.

The usual clients of .NET and Go send JSON like that. Django reads no body without a
length, so the length is measured when a view first reads the body.
"""

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
