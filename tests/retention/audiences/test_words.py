"""Test audience expressions in words."""

import pytest

from retention.audiences.parse import parse
from retention.audiences.words import in_words


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("last_order < 1d", "last order less than 1 day ago"),
        (
            "risk >= medium and value > 1200",
            "churn risk medium or higher, and expected spend more than 1,200",
        ),
        (
            "(city = Berlin or city in (Hamburg, Bonn)) and orders >= 5",
            "(city Berlin, or city is one of Hamburg, Bonn), and number of orders at least 5",
        ),
        ("not bought category Coffee in 90d", "not (bought Coffee in the last 90 days)"),
        ("probability > 50% and consent = given", "churn risk more than 50%, and consent given"),
        ('in campaign "Spring offer"', "in the campaign Spring offer"),
        ("age != 35", "age not 35"),
    ],
)
def test_expression_in_words_has_no_operators(expression, words):
    assert in_words(parse(expression)) == words
