"""What names a customer goes, whole words only, and what stands beside it stays."""

import json

import pytest
from sqlalchemy import select

from retention.db.tables import Outbox
from retention.privacy.redaction import Names

NAMES = Names(["28", "c-3", "ann@example.com", "K7Q2-M9XD", "Brée & Co"])


@pytest.mark.parametrize(
    "text",
    [
        "28",
        "customer c-3's",
        "to ann@example.com.",
        "to Ann@Example.COM",
        "It was c-3.\nNext",
        "useful|K7Q2-M9XD|m",
        "Brée &amp; Co",
    ],
)
def test_a_name_is_found_as_a_value_and_as_a_word(text):
    assert NAMES.named_in(text)


@pytest.mark.parametrize(
    "text",
    [
        "no order for 28 days",
        "c-31",
        "c-3-1",
        "xc-3",
        "joann@example.com",
        "128",
        "jo.ann@example.com",
        "jo+ann@example.com",
        "ann@example.com.au",
        "c-3.5",
        "c-3@example.com",
    ],
)
def test_what_only_looks_like_a_name_is_none(text):
    assert not NAMES.named_in(text)


@pytest.mark.parametrize(
    "text",
    [
        "Customer 28 has no order",
        "*Customer 28* · ann",
        "used by customer 28, order 17",
        "it is customer 28's.",
        "There is no customer '28'.",
        "used by 28, order 17",
        "used by 28; it is 29's.",
        "it is 28's.",
        "*28*\nSubject: x",
        "*28* · no e-mail address\n_A gift_",
        "*28* · ann@shop.example\nSubject: x",
        "`A` used a second time by 28; it is 29's.",
    ],
)
def test_a_short_number_is_a_name_where_it_is_called_a_customer(text):
    """All after the fifth as messages of earlier versions say it."""
    assert NAMES.named_in(text)


@pytest.mark.parametrize(
    "text",
    [
        "used by 281, order 17",
        "c7,0.28",
        "customer 28.20",
        "Use it by 28 May",
        "order 28; it is customer 29's.",
        "*28 codes*",
        "28 orders, $28",
        "customers 28",
        "*28* (`c1`), version 2",
        "Whom to call for *28*: 3 customers",
        "Order by 28, it ends then",
        "by 28; then it ends",
    ],
)
def test_else_it_is_a_count_a_price_or_an_order(text):
    """Whoever was erased took the lines with such a number out of the direct messages of others."""
    assert not NAMES.named_in(text)


def test_a_file_names_whom_its_column_of_customers_holds():
    """A file was dropped for a price or a discount that looked like the id of who was erased."""
    head = "customer_id,email,expected_value,discount\r\n"
    assert not NAMES.listed_in(head + "29,bo@example.com,28,28\r\n")
    assert NAMES.listed_in(head + "28,,5,5\r\n")
    assert NAMES.listed_in(head + "29,Ann@Example.com,5,5\r\n")
    assert Names(["-5"]).listed_in(
        head + "'-5,,5,5\r\n"
    )  # as a spreadsheet cannot be tricked by it
    assert Names(["a;=5"]).listed_in(head + "a;'=5,,5,5\r\n")
    assert Names(['a;"=5']).listed_in(head + """"a;'""=5",,5,5\r\n""")
    assert not NAMES.listed_in("")


def test_an_entry_of_a_list_goes_and_its_neighbours_stay():
    other = {"customer_id": "29", "reasons": [{"text": "no order for 28 days"}]}
    cohort = [{"customer_id": "28", "reasons": []}, other, {"nested": [{"to": "ann@example.com"}]}]
    found = NAMES.out_of({"cohort": cohort, "customers": 28, "note": "c-3 moved"})
    assert found == {"cohort": [other], "customers": 28, "note": "erased"}
    assert NAMES.out_of(found) == found


def test_what_has_the_id_of_the_customer_but_is_an_item_or_an_order_stays():
    """Shops number customers and items alike: whoever was erased took that item out of the lists of others."""
    names = Names(["15036", "c-3"], ["ann@example.com", "K7Q2-M9XD"])
    listed = {
        "customer_id": "14911",
        "recommendations": [{"item_id": "15036"}, {"item_id": "c-3"}],
        "uses": [
            {"used_by": "14911", "order_id": "15036"},
            {"used_by": "14912", "order_id": "c-3"},
        ],
        "items": ["15036", "22423"],
    }
    assert names.out_of(listed) == listed
    of_the_customer = [
        {"customer_id": "15036"},
        {"used_by": "c-3"},
        {"customers": ["15036"]},
        {"note": "K7Q2-M9XD"},
    ]
    assert names.out_of({"found": of_the_customer, "to": "ann@example.com"}) == {
        "found": [],
        "to": "erased",
    }


def test_rows_are_found_by_what_json_makes_of_a_name(database):
    told = {
        "value": {"a": "28"},
        "text": {"a": "dear Brée & Co"},
        "message": {"a": "dear Brée &amp; Co"},
        "count": {"a": "for 28 days"},
        "other": {"a": "29"},
        "case": {"a": "to ANN@example.com"},
        "called": {"a": "by customer 28."},
    }
    with database.transaction() as session:
        session.add_all(
            Outbox(key=key, channel="C0CRM", payload=payload) for key, payload in told.items()
        )
    with database.reading() as session:
        found = session.scalars(select(Outbox.key).where(NAMES.within(Outbox.payload))).all()
    assert set(found) == {"value", "text", "message", "case", "called"}
    assert "é" not in json.dumps(told)  # as the column stores it
