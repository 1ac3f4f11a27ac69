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
        (
            "bought category Wine in 90d at store 367",
            "bought Wine in the last 90 days at store 367",
        ),
        ("store in (Nord, 12)", "ordered at store Nord, 12"),
        ("viewed brand Acme or opened", "looked at Acme, or opened an e-mail"),
        ("orders in 30d >= 2", "number of orders in the last 30 days at least 2"),
        ("not clicked in 90d", "not (clicked in an e-mail in the last 90 days)"),
        ("in list staff", "in the list staff"),
    ],
)
def test_expression_in_words_has_no_operators(expression, words):
    assert in_words(parse(expression)) == words
