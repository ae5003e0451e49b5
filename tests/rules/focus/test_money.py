from decimal import Decimal
from fractions import Fraction

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
        Decimal("123456789.1234567"),
        Decimal("0.00000099"),
        Decimal("0.000000002"),
        Decimal("0.0000000010000000000000000000000000000000001"),
        Decimal("0.3000000011"),
        Decimal(MAX_CREDITS) + Decimal("0.000001"),
    ],
)
def test_an_ambiguous_amount_is_refused(value):
    with pytest.raises(NotAnAmount):
        to_micro(value)


@pytest.mark.parametrize(
    ("value", "micro"),
    [
        (0.1 + 0.2, 300_000),
        (1.1 + 2.2, 3_300_000),
        (0.7 + 0.1, 800_000),
        (4.35 * 100, 435_000_000),
        (1.005 * 1000, 1_005_000_000),
        (Decimal("0.299999999000000"), 300_000),
        (Decimal("0.300000001"), 300_000),
        (Decimal("-0.30000000000000004"), -300_000),
        (Decimal("1E-9"), 0),
        (Decimal("1E-999999"), 0),
        (Decimal("0E+999999"), 0),
        (Decimal("0.0000009990"), 1),
        (Decimal("0.9999999999999999999999999999999999999999"), 1_000_000),
        (Decimal("999999999.99999999999"), MAX_CREDITS * 1_000_000),
        (Decimal(MAX_CREDITS) + Decimal("1E-10"), MAX_CREDITS * 1_000_000),
    ],
)
def test_the_noise_of_binary_floats_is_dropped(value, micro):
    assert (
        to_micro(Decimal(repr(value)) if isinstance(value, float) else value) == micro
    )


@given(
    st.one_of(
        st.decimals(-2 * MAX_CREDITS, 2 * MAX_CREDITS, allow_nan=False, places=12),
        # Around a multiple of 0.000001, where the decision falls.
        st.builds(
            lambda micro, off: Decimal(micro).scaleb(-6) + Decimal(off).scaleb(-12),
            st.integers(-(10**12), 10**12),
            st.integers(-1100, 1100),
        ),
        st.floats(-1e10, 1e10).map(lambda number: Decimal(repr(number))),
    )
)
def test_a_number_is_its_nearest_micro_credit_or_refused(number):
    exact = Fraction(number) * 1_000_000
    nearest = round(exact)
    fits = abs(exact - nearest) <= Fraction(1, 1000)
    if fits and abs(nearest) <= MAX_CREDITS * 1_000_000:
        assert to_micro(number) == nearest
    else:
        with pytest.raises(NotAnAmount):
            to_micro(number)


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=20))
def test_a_client_that_adds_prices_as_floats_pays_the_exact_sum(micros):
    total = sum(micro / 1_000_000 for micro in micros)
    assert to_micro(Decimal(repr(total))) == sum(micros)


@given(st.integers(-(10**15), 10**15))
def test_micro_credits_survive_the_round_trip(micro):
    assert to_micro(from_micro(micro)) == micro


@pytest.mark.parametrize(
    ("micro", "text"),
    [(3_000_000, "3"), (10_000, "0.01"), (-1, "-0.000001"), (-1_500_000, "-1.5")],
)
def test_a_number_has_no_useless_decimals(micro, text):
    assert encode(from_micro(micro)) == text.encode()
