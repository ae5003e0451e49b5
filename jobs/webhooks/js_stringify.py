"""JSON bytes that stay the same when a receiver parses and writes them again.

Some receivers check the signature over `JSON.stringify` of the parsed body, or over
`json.dumps(body, separators=(",", ":"), sort_keys=True, ensure_ascii=False)`. So the
bytes are those that JavaScript writes, with sorted keys in every object. Python writes
the same, with two exceptions:

* JavaScript puts keys that are array indices first, in numeric order.
* JavaScript writes numbers with 1e-9 <= |x| < 1e-4 as `0.00001`, not `1e-05`.
"""

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from json.encoder import encode_basestring as _quoted  # ensure_ascii=False
from typing import Any

_EXACT = 2**53
_LAST_INDEX = 2**32 - 2
_INDEX = re.compile("0|[1-9][0-9]{0,9}")
_LONE = re.compile("[\ud800-\udfff]")


def js_stringify(value: Any) -> bytes:
    """Return UTF-8 bytes that equal `JSON.stringify(JSON.parse(bytes))`. Never raises.

    Numbers become doubles. As in JavaScript, NaN and a number that no double holds
    become null, and half of a surrogate pair becomes its escape. A value of another
    type becomes its `str`.
    """
    return _text(value).encode()


def _text(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return _number(value)
    if isinstance(value, Mapping):
        members = sorted(((str(k), v) for k, v in value.items()), key=_sort_key)
        return "{" + ",".join(f"{_string(k)}:{_text(v)}" for k, v in members) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    return _string(str(value))


def _string(text: str) -> str:
    written: str = _quoted(text)
    if written.isascii() or not _LONE.search(written):
        return written
    # JavaScript reads two adjacent halves as one character.
    whole = written.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return _LONE.sub(lambda half: f"\\u{ord(half[0]):04x}", whole)


def _sort_key(member: tuple[str, Any]) -> tuple[int, str]:
    key = member[0]
    is_index = _INDEX.fullmatch(key) and int(key) <= _LAST_INDEX
    return (int(key), "") if is_index else (_EXACT, key)


def _number(value: int | float | Decimal) -> str:
    if isinstance(value, int) and -_EXACT < value < _EXACT:
        return str(value)
    try:
        number = float(value)
    except (OverflowError, ValueError):
        return "null"
    return _double(number) if math.isfinite(number) else "null"


def _double(number: float) -> str:
    """Write a double as ECMAScript's Number::toString does, with its exponents."""
    if number == 0:
        return "0"
    sign = "-" if number < 0 else ""
    _, digits, exponent = Decimal(repr(abs(number))).as_tuple()
    text = "".join(map(str, digits)).rstrip("0")
    # The value is 0.text × 10^point.
    point = len(digits) + int(exponent)
    if len(text) <= point <= 21:
        return sign + text.ljust(point, "0")
    if 0 < point <= 21:
        return f"{sign}{text[:point]}.{text[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{text}"
    fraction = f".{text[1:]}" if len(text) > 1 else ""
    return f"{sign}{text[0]}{fraction}e{point - 1:+d}"
