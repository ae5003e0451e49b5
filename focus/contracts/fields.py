"""Serializer fields that all contracts share: exact texts, ids, credits, metadata."""

import re
from decimal import Decimal
from typing import Any
from uuid import UUID

from drf_spectacular.drainage import set_override
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from focus.contracts.wire import encode
from focus.money import MAX_CREDITS, MICRO, NotAnAmount, from_micro, to_micro

METADATA_BYTES = 16 * 1024
METADATA_LEVELS = 16


class ExactText(serializers.CharField):
    """A JSON string, unchanged. DRF's CharField accepts numbers and trims."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"trim_whitespace": False} | options)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class TrimmedText(ExactText):
    """A JSON string, without leading and trailing white space."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"trim_whitespace": True} | options)


class Uuid(serializers.UUIDField):
    """A UUID as a JSON string, in any spelling. DRF's own field accepts integers."""

    def to_internal_value(self, data: Any) -> UUID:
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return UUID(str(super().to_internal_value(data)))


class Id(Uuid):
    """A UUID in its canonical spelling, with hyphens."""

    def to_internal_value(self, data: Any) -> UUID:
        if isinstance(data, str) and not _UUID.fullmatch(data):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Credits(serializers.Field[int, object, int | Decimal, Any]):
    """Credits in JSON, integer micro-credits in Python. Exact; drops float noise.

    Accepts only JSON numbers. DRF's number fields also accept strings and booleans.
    """

    default_error_messages = {
        "negative": "must not be negative.",
        "zero": "must be greater than 0.",
        "most": "must not exceed {most} credits.",
    }

    def __init__(
        self, *, positive: bool = False, most: int = MAX_CREDITS, **options: Any
    ) -> None:
        self.positive, self.most = positive, most
        super().__init__(**options)
        least = 1 / MICRO if positive else 0
        shape = {"type": "number", "minimum": least, "maximum": most}
        set_override(self, "field", shape)

    def to_internal_value(self, data: object) -> int:
        try:
            micro = to_micro(data)
        except NotAnAmount as wrong:
            raise serializers.ValidationError(str(wrong), code="invalid") from wrong
        if micro < 0:
            self.fail("negative")
        if self.positive and micro == 0:
            self.fail("zero")
        if micro > self.most * MICRO:
            self.fail("most", most=self.most)
        return micro

    def to_representation(self, value: int) -> int | Decimal:
        return from_micro(value)


@extend_schema_field(OpenApiTypes.OBJECT)
class Metadata(serializers.Field[dict[str, Any], object, dict[str, Any], Any]):
    """A JSON object of at most 16 KiB and 16 levels. Its fractions become floats."""

    default_error_messages = {
        "not_an_object": "must be a JSON object.",
        "too_large": f"must not exceed {METADATA_BYTES} bytes.",
        "too_deep": f"must not exceed {METADATA_LEVELS} levels.",
        "number": "contains a number that JSON readers cannot hold.",
    }

    def to_internal_value(self, data: object) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("not_an_object")
        stored: dict[str, Any] = self._storable(data, METADATA_LEVELS)
        if len(encode(stored)) + _spelled_out(stored) > METADATA_BYTES:
            self.fail("too_large")
        return stored

    def to_representation(self, value: dict[str, Any]) -> dict[str, Any]:
        return value

    def _storable(self, value: Any, levels: int) -> Any:
        if isinstance(value, dict | list) and levels == 0:
            self.fail("too_deep")
        if isinstance(value, dict):
            return {key: self._storable(v, levels - 1) for key, v in value.items()}
        if isinstance(value, list):
            return [self._storable(item, levels - 1) for item in value]
        if isinstance(value, Decimal):
            number = float(value)
            if number in (float("inf"), float("-inf")):
                self.fail("number")
            return number
        return value


def _spelled_out(value: Any) -> int:
    """Return how many more characters jsonb needs: 1e300 becomes 301 digits."""
    if isinstance(value, dict):
        return sum(map(_spelled_out, value.values()))
    if isinstance(value, list):
        return sum(map(_spelled_out, value))
    if isinstance(value, float):
        return max(0, len(format(Decimal(repr(value)), "f")) - len(repr(value)))
    return 0
