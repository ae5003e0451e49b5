"""Credits as people write them, and as the ledger keeps them.

One credit is 1 000 000 micro-credits. Storage and arithmetic are integers; a float
never touches an amount.
"""

from decimal import Decimal

MICRO = 1_000_000
# The largest amount one request may move. Far below BIGINT, so sums never overflow.
MAX_CREDITS = 1_000_000_000
DECIMALS = 6


class NotAnAmount(ValueError):
    """The value is not a number of credits; the text says why, for the caller."""


def to_micro(value: object) -> int:
    """Micro-credits of a JSON number. Refuses what would need rounding or guessing."""
    if isinstance(value, bool):
        raise NotAnAmount("must be a number, not true or false.")
    if not isinstance(value, int | Decimal):
        raise NotAnAmount("must be a JSON number, not a string or anything else.")
    number = Decimal(value)
    if not number.is_finite():
        raise NotAnAmount("must be a finite number.")
    # Before any arithmetic: 1e999999 is a short text and a huge integer.
    if number and number.adjusted() > len(str(MAX_CREDITS)):
        raise NotAnAmount(f"must not exceed {MAX_CREDITS} credits.")
    _, digits, exponent = number.as_tuple()
    # 0.10000000 needs no rounding; 0.0000001 does.
    spare = -DECIMALS - int(exponent)
    if spare > 0 and any(digits[-spare:]):
        raise NotAnAmount(f"must have at most {DECIMALS} decimals.")
    if abs(number) > MAX_CREDITS:
        raise NotAnAmount(f"must not exceed {MAX_CREDITS} credits.")
    return int(number * MICRO)


def two_places(micro: int) -> str:
    """reviv's way: 4.00, and further decimals only where there are any: 0.015."""
    exact = f"{micro / Decimal(MICRO):.{DECIMALS}f}"
    return exact[: 2 - DECIMALS] + exact[2 - DECIMALS :].rstrip("0")


def from_micro(micro: int) -> int | Decimal:
    """The number a person sees: 3, not 3.0; 0.01, not 0.010000."""
    whole, rest = divmod(micro, MICRO)
    if not rest:
        return whole
    return Decimal(f"{micro / Decimal(MICRO):.{DECIMALS}f}".rstrip("0"))
