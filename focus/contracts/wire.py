"""Parsers and renderer: strict for requests, exact for responses.

Fractions in requests become `Decimal`, so an amount is never a float. The parsers
refuse NaN, Infinity, lone surrogates, U+0000, trailing text and excessive nesting.
"""

from decimal import Decimal
from typing import Any

import msgspec
from rest_framework.exceptions import ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser, FormParser, MultiPartParser
from rest_framework.renderers import BaseRenderer
from rest_framework.utils.serializer_helpers import ReturnDict, ReturnList

_decoder = msgspec.json.Decoder(float_hook=Decimal)


def _plain(value: Any) -> Any:
    """Convert types that msgspec lacks: DRF's dict and list, lazy strings, details."""
    if isinstance(value, ReturnDict | dict):
        return dict(value)
    if isinstance(value, ReturnList | list):
        return list(value)
    return str(value)


_encoder = msgspec.json.Encoder(decimal_format="number", enc_hook=_plain)


class StrictJSONParser(BaseParser):
    """Parses a JSON object; an empty body is `{}`. Raises `ParseError` otherwise."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: Any = None, context: Any = None) -> Any:
        # `request.body`, not the stream: Django checks its size and answers 413.
        request = (context or {}).get("request")
        body = request.body if request is not None else stream.read()
        if not body.strip():
            return {}
        try:
            value = _decoder.decode(body)
        except RecursionError as deep:
            raise ParseError("The JSON is nested too deeply.") from deep
        except (ValueError, ArithmeticError) as broken:
            # ArithmeticError: Decimal has no exponent of twenty digits.
            raise ParseError(f"The body is not valid JSON: {broken}") from broken
        # In valid JSON, U+0000 is always an escape, so most bodies skip the search.
        if b"\\u0000" in body:
            _refuse_nul(value)
        if not isinstance(value, dict):
            raise ParseError("The body must be a JSON object.")
        return value


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(_has_nul(k) or _has_nul(v) for k, v in value.items())
    return isinstance(value, list) and any(map(_has_nul, value))


class StrictFormParser(FormParser):
    """Parses an urlencoded form. Raises `ParseError` for U+0000."""

    def parse(self, stream: Any, media_type: Any = None, context: Any = None) -> Any:
        form = super().parse(stream, media_type, context)
        _refuse_nul(dict(form.lists()))
        return form


class StrictMultiPartParser(MultiPartParser):
    """Parses a multipart form. Raises `ParseError` for U+0000, also in file names."""

    def parse(self, stream: Any, media_type: Any = None, context: Any = None) -> Any:
        form = super().parse(stream, media_type, context)
        _refuse_nul(dict(form.data.lists()))
        for name, files in form.files.lists():
            _refuse_nul([name, *(file.name for file in files)])
        return form


def _refuse_nul(value: Any) -> None:
    if _has_nul(value):
        raise ParseError("U+0000 is not allowed in text.")


class ExactJSONRenderer(BaseRenderer):
    """Renders compact JSON. A `Decimal` becomes an exact number."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, media_type: Any = None, context: Any = None) -> bytes:
        return b"" if data is None else encode(data)


def encode(data: Any) -> bytes:
    """Return `data` as JSON bytes, as the responses have it."""
    return _encoder.encode(data)


class AlwaysJSON(BaseContentNegotiation):
    """Answers JSON to every Accept header. Chooses parsers by Content-Type alone."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        sent = request.content_type.split(";")[0].strip().lower()
        return next((p for p in parsers if p.media_type == sent), None)

    def select_renderer(self, request: Any, renderers: Any, suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type
