"""Test the rows of the audience form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.audiences.parse import parse
from retention.audiences.rows import Row, condition_of, expression_of, picked, rows_of
from retention.errors import BadInput

TEXTS = (
    "risk >= medium",
    "value > 200",
    "city = Berlin",
    'city in (Berlin, "New York")',
    "not city in (Berlin, Hamburg)",
    "bought category Coffee in 90d",
    'not bought brand "Big Co"',
    "in campaign c123",
    "last_order > 30d",
    'age = "35-44"',
    "age >= 20",
    "orders in 90d >= 2",
    "orders in (1, 2)",
    "spent in 30d > 12.5",
    "risk in (high, medium)",
    "not store = Nord",
    "store in (Nord, 367)",
    "bought category Wine in 90d at store 367",
    "viewed category Coffee in 30d",
    "not clicked in 90d",
    "opened",
    "not in list staff",
)


@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=5), st.booleans())
def test_rows_and_expressions_convert_into_each_other(texts, any_of):
    expression = parse((" or " if any_of else " and ").join(texts))
    rows, is_any = rows_of(expression)
    assert len(rows) == len(texts)
    assert expression_of(rows, any_of=is_any) == expression


@pytest.mark.parametrize(
    "text",
    [
        "risk = high and value > 1 or orders > 2",
        "not (risk = high and value > 1)",
        "not risk = low",
    ],
)
def test_form_cannot_show_mixed_or_negated_groups(text):
    assert rows_of(parse(text)) is None


def test_rows_accept_what_people_type():
    assert str(condition_of(Row("city", "=", "Berlin, New York"))) == 'city in (Berlin, "New York")'
    found = str(condition_of(Row("bought category", "!=", "Fresh Bread in 12w")))
    assert found == ('not bought category "Fresh Bread" in 84d')
    found = str(condition_of(Row("in campaign", "=", '"Spring offer"')))
    assert found == ('in campaign "Spring offer"')
    assert str(condition_of(Row("store", ">=", "367"))) == "store = 367"
    assert str(expression_of([Row(), Row("risk", ">=", "High"), Row()])) == "risk >= high"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (Row("store", "=", "London, Soho", ""), 'store = "London, Soho"'),
        (Row("store", "!=", "'s-Hof", ""), 'not store = "\'s-Hof"'),
        (Row("bought category", "=", "Tea in 30d", ""), 'bought category "Tea in 30d"'),
        (
            Row("viewed category", "=", "Tea at store 3", "4w"),
            'viewed category "Tea at store 3" in 28d',
        ),
    ],
)
def test_value_of_a_menu_is_one_value(row, expected):
    assert str(condition_of(row)) == expected
    assert picked(row) == (row.value, row.period)
    assert rows_of(parse(expected)) is None  # as text, it would be read otherwise


@pytest.mark.parametrize(
    ("row", "named"),
    [
        (Row("", "=", "x"), "Choose a field"),
        (Row("risk", ">=", "hihg"), "high"),
        (Row("value", ">", "many"), "number"),
        (Row("city", ">", "Berlin"), "="),
    ],
)
def test_wrong_row_is_refused(row, named):
    with pytest.raises(BadInput, match=named):
        condition_of(row)
    with pytest.raises(BadInput, match="at least one"):
        expression_of([Row(), Row("risk", "=", " ")])
