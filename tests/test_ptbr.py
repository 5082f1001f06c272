"""Numbers as Brazilians write and read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afina import ptbr
from afina.errors import CourseError


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (ptbr.number(0), "0"),
        (ptbr.number(999), "999"),
        (ptbr.number(1_234_567), "1.234.567"),
        (ptbr.number(-1234.5, 1), "-1.234,5"),
        (ptbr.decimal(1234.567), "1234,57"),
        (ptbr.decimal(0.8, 3), "0,800"),
        (ptbr.general(0.5), "0,5"),
        (ptbr.general(8.0), "8"),
        (ptbr.percent(0.8312), "83,1 %"),
        (ptbr.percent(1, 0), "100 %"),
        (ptbr.dollars(0), "US$ 0,00"),
        (ptbr.dollars(1234.5), "US$ 1.234,50"),
        (ptbr.dollars(0.0042), "US$ 0,0042"),
        (ptbr.plural(1, "linha"), "1 linha"),
        (ptbr.plural(3000, "linha"), "3.000 linhas"),
        (ptbr.plural(0, "sinal", "sinais"), "0 sinais"),
    ],
)
def test_numbers_are_written_as_in_brazil(made, text):
    assert made == text


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("0,67", 0.67),
        ("0.67", 0.67),
        (" 1.234,5 ", 1234.5),
        ("1.234.567", 1_234_567),
        ("83 %", 0.83),
        ("R$ 12,50", 12.5),
        ("US$ 1.000,00", 1000),
        ("-3", -3),
        ("1e-3", 0.001),
    ],
)
def test_what_a_brazilian_types_is_read(typed, value):
    assert ptbr.parse(typed) == pytest.approx(value)


@pytest.mark.parametrize("typed", ["", "doze", "1,2,3x", "nan", "inf", "%"])
def test_what_is_no_number_is_one_clear_error(typed):
    with pytest.raises(CourseError, match="não é um número"):
        ptbr.parse(typed)


@given(st.floats(-1e9, 1e9), st.integers(1, 6))
def test_reading_gives_back_what_was_written(value, digits):
    assert ptbr.parse(ptbr.number(value, digits)) == pytest.approx(round(value, digits), abs=10.0**-digits)
