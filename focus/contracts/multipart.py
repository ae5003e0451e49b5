"""Multipart forms with files that go to disk while they arrive, within limits.

A view sets `parser_classes = [StreamedMultiPart]`, `streams_body = True`,
`max_body_bytes` and `upload_limits`. Its `request.FILES` then holds `Uploaded` files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http.multipartparser import MultiPartParser as DjangoMultiPartParser
from django.http.multipartparser import MultiPartParserError
from rest_framework.exceptions import ParseError
from rest_framework.parsers import DataAndFiles, MultiPartParser

from focus.bodies.arrivals import PIECE_BYTES, Arrival, FileTooLarge, size_in_words
from focus.errors import DomainError


class TooManyFiles(DomainError):
    """The form has more files than the view takes. Facts: `max_files`."""

    code = "too_many_files"


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What one form may bring."""

    most_files: int
    most_bytes: int
    most_bytes_together: int


class Uploaded(UploadedFile):
    """A file of a form, complete in a temporary file without a name."""

    def __init__(self, arrival: Arrival, *, name: str, content_type: str) -> None:
        super().__init__(
            arrival.open(), name=name, content_type=content_type, size=arrival.size
        )
        self.arrival = arrival

    def close(self) -> None:
        super().close()
        self.arrival.close()


class StreamedMultiPart(MultiPartParser):
    """DRF's parser with a handler of ours in place of Django's two."""

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> DataAndFiles:
        """Read the whole form. Raises `FileTooLarge` and `TooManyFiles` as soon as a
        limit is passed, `DiskLow`, and ParseError; then no file stays.
        """
        context = parser_context or {}
        handler = _ToDisk(context["view"].upload_limits)
        meta = context["request"].META | {"CONTENT_TYPE": media_type}
        try:
            parser = DjangoMultiPartParser(meta, stream, [handler], "utf-8")
            return DataAndFiles(*parser.parse())
        except MultiPartParserError as broken:
            handler.close()
            raise ParseError(f"The form could not be read: {broken}") from broken
        except BaseException:
            handler.close()
            raise


class _ToDisk(FileUploadHandler):
    """Django's parser calls these for each piece of each file."""

    chunk_size = PIECE_BYTES

    def __init__(self, limits: UploadLimits) -> None:
        super().__init__()
        self._limits = limits
        self._arrivals: list[Arrival] = []

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        if len(self._arrivals) == self._limits.most_files:
            most = self._limits.most_files
            files = "one file" if most == 1 else f"{most} files"
            raise TooManyFiles(f"Send at most {files}.", max_files=most)
        self._arrivals.append(Arrival(most_bytes=self._limits.most_bytes))

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        together = sum(arrival.size for arrival in self._arrivals) + len(raw_data)
        most = self._limits.most_bytes_together
        arrival = self._arrivals[-1]
        if together > most and arrival.size + len(raw_data) <= arrival.most_bytes:
            raise FileTooLarge(
                f"The files are larger than {size_in_words(most)} together.",
                max_bytes=most,
            )
        arrival.write(raw_data)

    def file_complete(self, file_size: int) -> Uploaded:
        return Uploaded(
            self._arrivals[-1],
            name=str(self.file_name),
            content_type=str(self.content_type),
        )

    def upload_interrupted(self) -> None:
        """Close the file that the form ended in: its last boundary is missing."""
        self._arrivals.pop().close()

    def close(self) -> None:
        for arrival in self._arrivals:
            arrival.close()
