"""Test the parsing of numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot import numbers
from retention.errors import BadInput


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("5", 5),
        (" 12.50 ", 12.5),
        ("12,50", 12.5),
        ("1200", 1200),
        ("1,200", 1200),
        ("25,000.50", 25000.5),
        ("1.200,50", 1200.5),
        ("$20,000", 20000),
        ("€ 5", 5),
        ("5 €", 5),
        ("12.50 USD", 12.5),
        ("GBP 7", 7),
        ("1 200", 1200),
        ("1\u202f200", 1200),
        ("1'200", 1200),
        ("-3", -3),
        ("0.125", 0.125),
        (".95", 0.95),
        ("0,125", 0.125),
        ("5.", 5),
        ("¥1200", 1200),
        ("5 kr", 5),
    ],
)
def test_parses_amounts(typed, value):
    assert numbers.parse_money(typed) == value


@pytest.mark.parametrize(
    "typed",
    [
        *("", "much", "1.200", "1,2,3", "12,5000", "1.2.3", "1e5", "nan", "inf", "5 5", "$"),
        *("5 dollars", "20k", "1.5m", "10%", "~5", "(5)", "−5", "$1.200"),
    ],
)
def test_invalid_or_ambiguous_amounts_are_refused(typed):
    with pytest.raises(BadInput):
        numbers.parse_money(typed)


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("15", 0.15),
        ("15%", 0.15),
        ("12,5 %", 0.125),
        ("0.5", 0.005),
        (".5", 0.005),
        ("8.125", 0.08125),
        ("0,125 %", 0.00125),
    ],
)
def test_parses_percentages(typed, value):
    assert numbers.parse_percentage(typed) == value


@given(st.integers(0, 10**9), st.integers(0, 99))
def test_number_is_read_with_any_thousands_separator(units, cents):
    value = units + cents / 100
    european = f"{value:,.2f}".translate(str.maketrans(",.", ".,"))
    for text in (f"{value:.2f}", f"{value:,.2f}", european):
        assert numbers.parse_money(text) == pytest.approx(value)


@pytest.mark.parametrize("typed", ["0", "101", "2.5", "two", "-1"])
def test_a_whole_number_out_of_bounds_is_refused(typed):
    with pytest.raises(BadInput):
        numbers.parse_integer(typed, 1, 100)
    assert numbers.parse_integer("100", 1, 100) == 100


@given(st.floats(0, 100))
def test_percentage_of_the_modal_is_read_back(percent):
    shown = f"{percent:.4f}".rstrip("0").rstrip(".")
    assert numbers.parse_percentage(shown) == pytest.approx(percent / 100, abs=1e-6)
