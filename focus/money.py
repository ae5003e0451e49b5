"""Conversion between credits, which people read, and the ledger's micro-credits.

One credit is 1 000 000 micro-credits. Storage and arithmetic use integers, no floats.
"""

from decimal import Decimal

MICRO = 1_000_000
# The largest amount one request may move. Far below BIGINT, so sums never overflow.
MAX_CREDITS = 1_000_000_000
DECIMALS = 6


class NotAnAmount(ValueError):
    """The value is not an amount of credits; the text tells the caller the reason."""


def to_micro(value: object) -> int:
    """Return the micro-credits of a JSON number.

    Drops the noise of binary floats: 0.30000000000000004 is 0.3, because it is within
    1e-9 of a multiple of 0.000001. Raises `NotAnAmount` for any other seventh decimal
    and for a value that is no number.
    """
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
    micro = _nearest_micro(number) if number else 0
    if abs(micro) > MAX_CREDITS * MICRO:
        raise NotAnAmount(f"must not exceed {MAX_CREDITS} credits.")
    return micro


def _nearest_micro(number: Decimal) -> int:
    """Round by digits, because arithmetic on a `Decimal` rounds to 28 digits."""
    sign, digits, exponent = number.as_tuple()
    spare = -DECIMALS - int(exponent)
    if spare <= 0:
        return int(number * MICRO)
    whole = int("".join(map(str, digits[:-spare])) or "0")
    # A fraction of a micro-credit; 1e-9 credits are a thousandth of it.
    zeros = min(max(0, spare - len(digits)), 4)
    fraction = "0" * zeros + "".join(map(str, digits[-spare:]))
    thousandths, rest = fraction[:3].ljust(3, "0"), fraction[3:].strip("0")
    if thousandths == "999":
        whole += 1
    elif thousandths != "000" and not (thousandths == "001" and not rest):
        raise NotAnAmount(f"must have at most {DECIMALS} decimals.")
    return -whole if sign else whole


def two_places(micro: int) -> str:
    """Format for reviv: two decimals as in 4.00, and more if needed, as in 0.015."""
    exact = f"{micro / Decimal(MICRO):.{DECIMALS}f}"
    return exact[: 2 - DECIMALS] + exact[2 - DECIMALS :].rstrip("0")


def from_micro(micro: int) -> int | Decimal:
    """Return the shortest exact number: 3, not 3.0; 0.01, not 0.010000."""
    whole, rest = divmod(micro, MICRO)
    if not rest:
        return whole
    return Decimal(f"{micro / Decimal(MICRO):.{DECIMALS}f}".rstrip("0"))
