"""Requests whose body comes in chunks, without a length.

The usual clients of .NET and Go send JSON like that. Django reads nothing of a body
without a length, so one is made when a view first asks for the body, and not before.
"""

from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.handlers.wsgi import WSGIRequest


class Request(WSGIRequest):
    def __init__(self, environ: dict[str, Any]) -> None:
        super().__init__(environ)
        chunked = "HTTP_TRANSFER_ENCODING" in environ
        self._unmeasured = chunked and not environ.get("CONTENT_LENGTH")
        if self._unmeasured:
            self._stream = environ["wsgi.input"]

    def measure(self) -> None:
        """Read a body in chunks and give it a length. Raises `RequestDataTooBig`, and
        what reading raises.
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
    """`Request.measure` where the server made the request; nothing in a test's."""
    if isinstance(request, Request):
        request.measure()
