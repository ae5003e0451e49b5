"""JSON on the wire: strict coming in, exact going out.

Incoming fractions become `Decimal`, so an amount is never a float. NaN, Infinity,
lone surrogates, U+0000, trailing text and absurd depth are refused at the door.
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
    """What msgspec does not know: DRF's dict and list, lazy strings, error details."""
    if isinstance(value, ReturnDict | dict):
        return dict(value)
    if isinstance(value, ReturnList | list):
        return list(value)
    return str(value)


_encoder = msgspec.json.Encoder(decimal_format="number", enc_hook=_plain)


class StrictJSONParser(BaseParser):
    media_type = "application/json"

    def parse(self, stream: Any, media_type: Any = None, context: Any = None) -> Any:
        # request.body, not the stream: Django refuses an oversized one with 413.
        request = (context or {}).get("request")
        body = request.body if request is not None else stream.read()
        if not body.strip():
            return {}
        try:
            value = _decoder.decode(body)
        except RecursionError as deep:
            raise ParseError("The JSON is nested too deeply.") from deep
        except (ValueError, ArithmeticError) as broken:
            # Arithmetic: Decimal has no exponent of twenty digits.
            raise ParseError(f"The body is not valid JSON: {broken}") from broken
        # Only an escape can bring U+0000 in, so most bodies skip the walk.
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
    """An urlencoded form without U+0000."""

    def parse(self, stream: Any, media_type: Any = None, context: Any = None) -> Any:
        form = super().parse(stream, media_type, context)
        _refuse_nul(dict(form.lists()))
        return form


class StrictMultiPartParser(MultiPartParser):
    """A multipart form without U+0000, in its files' names neither."""

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
    """Compact JSON. A `Decimal` is written as the number it is."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, media_type: Any = None, context: Any = None) -> bytes:
        return b"" if data is None else encode(data)


def encode(data: Any) -> bytes:
    return _encoder.encode(data)


class AlwaysJSON(BaseContentNegotiation):
    """Every API answer is JSON, whatever the Accept header dreams of."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        sent = request.content_type.split(";")[0].strip().lower()
        return next((p for p in parsers if p.media_type == sent), None)

    def select_renderer(self, request: Any, renderers: Any, suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type
