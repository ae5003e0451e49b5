"""JSON with exact amounts: fractions are Decimals, and never floats."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

# The wallet counts in millionths; the server refuses finer amounts.
_AMOUNT = re.compile(r"[0-9]{1,15}(\.[0-9]{1,6})?")


def amount(text: str) -> Decimal:
    """Parse `5` or `0.01` to a Decimal. Raises ValueError for anything else."""
    if not _AMOUNT.fullmatch(text):
        raise ValueError("use a number such as 5 or 0.01, with up to 6 decimals.")
    return Decimal(text)


def loads(text: str | bytes) -> Any:
    """Parse JSON, with fractions as Decimal. Raises ValueError for NaN and Infinity."""
    return json.loads(text, parse_float=Decimal, parse_constant=_refuse)


def dumps(value: Any, *, indent: int = 0, _depth: int = 1) -> str:
    """Encode JSON, with a Decimal as an exact number, which `json` cannot do.

    Characters other than ASCII are escaped, so every terminal encoding can print them.
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
