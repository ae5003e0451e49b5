"""Amounts as people wrote them: JSON in and out without a float in between."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

# The wallet counts in millionths; a finer amount would be refused, not rounded.
_AMOUNT = re.compile(r"[0-9]{1,15}(\.[0-9]{1,6})?")


def amount(text: str) -> Decimal:
    """`5` or `0.01` as a Decimal; anything else is a ValueError."""
    if not _AMOUNT.fullmatch(text):
        raise ValueError("use a number such as 5 or 0.01, with up to 6 decimals.")
    return Decimal(text)


def loads(text: str | bytes) -> Any:
    """JSON to Python, fractions as Decimal; NaN and Infinity are not JSON."""
    return json.loads(text, parse_float=Decimal, parse_constant=_refuse)


def dumps(value: Any, *, indent: int = 0, _depth: int = 1) -> str:
    """Python to JSON, a Decimal as the very number it is (json can't do that).

    Other than ASCII is escaped: the output survives any terminal encoding.
    """
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        pairs = [
            f"{json.dumps(str(key))}: {dumps(item, indent=indent, _depth=_depth + 1)}"
            for key, item in value.items()
        ]
        return _wrap("{", pairs, "}", indent, _depth)
    if isinstance(value, list):
        items = [dumps(item, indent=indent, _depth=_depth + 1) for item in value]
        return _wrap("[", items, "]", indent, _depth)
    return json.dumps(value)


def _wrap(left: str, parts: list[str], right: str, indent: int, depth: int) -> str:
    if not parts or not indent:
        return left + ", ".join(parts) + right
    inner = "\n" + " " * indent * depth
    outer = "\n" + " " * indent * (depth - 1)
    return left + inner + f",{inner}".join(parts) + outer + right


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
