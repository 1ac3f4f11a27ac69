"""Test the correction of everyday words to an audience expression."""

import pytest

from retention.audiences.parse import BadExpression
from retention.audiences.plain import corrected, understand


@pytest.mark.parametrize(
    ("text", "proposal"),
    [
        ("high risk and spent over 100", "risk >= high and spent > 100"),
        ("customers at high risk who spent more than $1,000", "risk >= high and spent > 1000"),
        ("silent for 60 days, value over 200", "last_order >= 60d and value > 200"),
        ("at risk in Berlin", "risk >= medium and city = Berlin"),
        ("at least 3 orders", "orders >= 3"),
        ("at least 2 orders in the last 90 days", "orders in 90d >= 2"),
        ("clicked on a link in the past 30 days", "clicked in 30d"),
    ],
)
def test_everyday_words_become_an_expression(text, proposal):
    assert corrected(text) == proposal
    with pytest.raises(BadExpression, match="Did you mean") as refused:
        understand(text)
    assert refused.value.nearest == proposal


def test_other_words_keep_their_error():
    assert corrected("foo bar baz") is None
    with pytest.raises(BadExpression, match="position 5"):
        understand("foo bar baz")


def test_an_expression_stays_as_it_is():
    assert str(understand("risk >= high")) == "risk >= high"
