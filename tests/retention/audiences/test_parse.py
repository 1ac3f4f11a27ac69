"""Test the grammar of audience expressions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.audiences.expression import (
    ENGAGED,
    FIELDS,
    KEYWORDS,
    OPERATORS,
    PRODUCT_KINDS,
    TIERS,
    And,
    AtStore,
    Bought,
    Comparison,
    Engaged,
    InCampaign,
    InList,
    Not,
    OneOf,
    Or,
    fields,
)
from retention.audiences.parse import BadExpression, parse

EXAMPLE = "risk >= medium and value > 200 and city = Berlin and bought category Coffee in 90d"

texts = st.text(
    st.characters(blacklist_characters='"“”„‟≥≤≠', blacklist_categories=["Cs", "Cc"]),
    min_size=1,
    max_size=12,
).filter(str.strip)
names = (
    st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
    .filter(lambda name: name not in KEYWORDS)
    .filter(lambda name: name not in ("is", "equals"))
)
numbers = st.decimals(-(10**6), 10**6, places=3, allow_nan=False).map(float)
days = st.integers(0, 900)
periods = st.none() | st.integers(1, 900)
EQUALITY = ("=", "!=")


def compared(field, operators, values):
    return st.builds(Comparison, field, st.sampled_from(operators), values)


comparisons = st.one_of(
    compared(st.just("risk"), OPERATORS, st.sampled_from(TIERS)),
    compared(st.sampled_from(["value", "orders", "spent"]), OPERATORS, numbers),
    compared(st.sampled_from(["last_order", "first_order"]), "<>", days.map(float)),
    compared(st.just("city") | names.filter(lambda name: name not in FIELDS), EQUALITY, texts),
    st.builds(
        OneOf, st.just("city"), st.lists(texts, min_size=1, max_size=3, unique=True).map(tuple)
    ),
    st.builds(
        Bought, st.sampled_from(PRODUCT_KINDS), texts, periods, st.none() | texts, st.just("bought")
    ),
    st.builds(Bought, st.sampled_from(PRODUCT_KINDS), texts, periods, st.none(), st.just("viewed")),
    st.builds(Comparison, st.just("orders"), st.sampled_from(OPERATORS), numbers, periods),
    st.builds(AtStore, st.lists(texts, min_size=1, max_size=3, unique=True).map(tuple)),
    st.builds(Engaged, st.sampled_from(ENGAGED), periods),
    st.builds(InCampaign, texts),
    st.builds(InList, texts.map(str.lower)),
)
expressions = st.recursive(
    comparisons,
    lambda inner: (
        st.builds(Not, inner) | st.builds(And, inner, inner) | st.builds(Or, inner, inner)
    ),
    max_leaves=6,
)


@given(expressions)
def test_printed_expression_parses_to_the_same(expression):
    printed = str(expression)
    if len(printed) <= 1_000:
        assert parse(printed) == expression


@given(st.text(max_size=80))
def test_any_text_parses_or_names_a_position(text):
    try:
        parse(text)
        position = 1
    except BadExpression as error:
        position = error.position
    assert 1 <= position <= len(text) + 1


def test_contract_example_parses_into_its_conditions():
    left = And(Comparison("risk", ">=", "medium"), Comparison("value", ">", 200.0))
    expected = And(And(left, Comparison("city", "=", "Berlin")), Bought("category", "Coffee", 90))
    assert parse(EXAMPLE) == expected


def test_and_binds_tighter_than_or_and_brackets_change_that():
    one, two, three = (Comparison("orders", "=", float(n)) for n in (1, 2, 3))
    text = "orders = 1 or orders = 2 and orders = 3"
    assert parse(text) == Or(one, And(two, three))
    assert parse("(orders = 1 or orders = 2) and orders = 3") == And(Or(one, two), three)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("RISK >= Medium", "risk >= medium"),
        ("probability > 50%", "probability > 0.5"),
        ("last_order > 30 days", "last_order > 30d"),
        ("last_order > 12w", "last_order > 84d"),
        ("consent = yes", "consent = given"),
        ("value ≥ 200", "value >= 200"),
        ("city in (Berlin, 'New York')", 'city in (Berlin, "New York")'),
        ("city not in (Berlin)", "not city in (Berlin)"),
        ("not bought item i001 in 90 days", "not bought item i001 in 90d"),
        ("age = 35-44", 'age = "35-44"'),
        ("in campaign “Spring offer”", 'in campaign "Spring offer"'),
        ("age is 20", "age = 20"),
    ],
)
def test_typed_forms_mean_the_same(typed, meant):
    assert str(parse(typed)) == meant


@pytest.mark.parametrize(
    ("text", "position", "word", "nearest"),
    [
        ("rsk >= medium", 1, "rsk", "risk"),
        ("risk >= meduim", 9, "meduim", "medium"),
        ("value > 200 an city = Berlin", 13, "an", "and"),
        ("bought categry Coffee", 8, "categry", "category"),
        ("in campain X", 4, "campain", "campaign"),
        ("consent = gven", 11, "gven", "given"),
        ("value > many", 9, "many", None),
        ("value > 200 and", 16, "", None),
        ("(risk = high", 1, "(", None),
        ("risk = high)", 12, ")", None),
        ("city = 'Berlin", 8, "'Berlin", None),
        ("bought category Coffee in soon", 27, "soon", None),
        ("probability > 5", 15, "5", None),
        ("city > Berlin", 1, "city", "="),
        ("", 1, "", None),
        ("citi = Berlin", 1, "citi", "city"),
        ("value > 2 & orders > 3", 11, "&", None),
    ],
)
def test_error_names_position_word_and_nearest(text, position, word, nearest):
    with pytest.raises(BadExpression) as caught:
        parse(text, attributes=["age", "income"])
    error = caught.value
    assert (error.position, error.word, error.nearest) == (position, word, nearest)
    assert str(position) in str(error) or not text
    if nearest:
        assert nearest in str(error)


def test_lapsed_is_no_risk_and_the_error_names_what_finds_them():
    for text in ("risk = lapsed", "risk in (high, lapsed)"):
        with pytest.raises(BadExpression, match="--tier lapsed") as caught:
            parse(text)
        assert caught.value.word == "lapsed"
    assert parse("last_order > 90d")


def test_long_and_deeply_nested_expressions_are_refused():
    with pytest.raises(BadExpression):
        parse("not " * 200 + "risk = high")
    with pytest.raises(BadExpression):
        parse("risk = high or " * 80 + "risk = low")


def test_attribute_names_ignore_case_but_keep_their_spelling():
    assert fields(parse("homeownership = Owner", attributes=["HomeOwnership"])) == {"HomeOwnership"}


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("store = 367 or store != Nord", "store = 367 or not store = Nord"),
        ("not store in (Nord, 12)", "not store in (Nord, 12)"),
        ("store >= 12", "store >= 12"),  # a number of the customers' own column
        ("orders in 90 days >= 2", "orders in 90d >= 2"),
        ("bought category Wine in 12w AT store 367", "bought category Wine in 84d at store 367"),
        ("viewed brand Acme and not clicked in 3m", "viewed brand Acme and not clicked in 90d"),
        ("opened or in list 2024", "opened or in list 2024"),
        (
            "risk in (high, medium) and orders in (1, 2)",
            "risk in (high, medium) and orders in (1, 2)",
        ),
        # Attributes of these names.
        ("opened = yes and clicked in (a, b)", "opened = yes and clicked in (a, b)"),
    ],
)
def test_conditions_of_stores_periods_and_lists_print_as_they_are_read(text, printed):
    assert str(parse(text)) == printed
    assert parse(printed) == parse(text)


@pytest.mark.parametrize(
    "text",
    ["viewed Wine", "opened in", "orders in 90d", "value in 90d > 3", "in lists x", "store > a"],
)
def test_incomplete_conditions_of_stores_periods_and_lists_are_refused(text):
    with pytest.raises(BadExpression):
        parse(text)
