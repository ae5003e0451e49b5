from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from focus.contracts.wire import encode
from focus.money import MAX_CREDITS, NotAnAmount, from_micro, to_micro


@pytest.mark.parametrize(
    ("value", "micro"),
    [
        (5, 5_000_000),
        (0, 0),
        (-3, -3_000_000),
        (Decimal("0.01"), 10_000),
        (Decimal("0.000001"), 1),
        (Decimal("0.10000000"), 100_000),
        (Decimal("1E+3"), 1_000_000_000),
        (Decimal("-0.0"), 0),
        (MAX_CREDITS, MAX_CREDITS * 1_000_000),
    ],
)
def test_credits_become_micro_credits_exactly(value, micro):
    assert to_micro(value) == micro


@pytest.mark.parametrize(
    "value",
    [
        True,
        "5",
        None,
        1.5,
        [],
        Decimal("NaN"),
        Decimal("Infinity"),
        Decimal("0.0000001"),
        Decimal("1.2345678"),
        10**30,
        MAX_CREDITS + 1,
        Decimal("1E+999999"),
        Decimal("1E-999999"),
    ],
)
def test_what_would_need_guessing_is_refused(value):
    with pytest.raises(NotAnAmount):
        to_micro(value)


@given(st.integers(-(10**15), 10**15))
def test_micro_credits_survive_the_round_trip(micro):
    assert to_micro(from_micro(micro)) == micro


@pytest.mark.parametrize(
    ("micro", "text"),
    [(3_000_000, "3"), (10_000, "0.01"), (-1, "-0.000001"), (-1_500_000, "-1.5")],
)
def test_a_number_has_no_useless_decimals(micro, text):
    assert encode(from_micro(micro)) == text.encode()
