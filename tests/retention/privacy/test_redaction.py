"""Test that redaction removes names of customers and nothing else."""

import json

import pytest
from sqlalchemy import select

from retention.db.tables import Outbox
from retention.privacy.redaction import CustomerNames
from tests.world import add, scalars

NAMES = CustomerNames(["28", "c-3", "ann@example.com", "K7Q2-M9XD", "Brée & Co"])


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
def test_finds_names_as_values_and_words(text):
    assert NAMES.is_mentioned_in(text)


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
def test_ignores_similar_words(text):
    assert not NAMES.is_mentioned_in(text)


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
def test_short_number_is_a_name_if_called_a_customer(text):
    """The forms after the fifth are from messages of earlier versions."""
    assert NAMES.is_mentioned_in(text)


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
def test_short_number_is_else_a_count_a_price_or_an_order(text):
    """Lines about other customers must stay in direct messages."""
    assert not NAMES.is_mentioned_in(text)


def test_file_lists_customers_of_its_customer_columns():
    """A price or a discount equal to the erased id must not drop a file."""
    head = "customer_id,email,expected_value,discount\r\n"
    assert not NAMES.is_listed_in(head + "29,bo@example.com,28,28\r\n")
    assert NAMES.is_listed_in(head + "28,,5,5\r\n")
    assert NAMES.is_listed_in(head + "29,Ann@Example.com,5,5\r\n")
    assert CustomerNames(["-5"]).is_listed_in(head + "'-5,,5,5\r\n")  # escaped against formulas
    assert CustomerNames(["a;=5"]).is_listed_in(head + "a;'=5,,5,5\r\n")
    assert CustomerNames(['a;"=5']).is_listed_in(head + """"a;'""=5",,5,5\r\n""")
    assert not NAMES.is_listed_in("")


def test_redacts_list_entries_and_keeps_others():
    other = {"customer_id": "29", "reasons": [{"text": "no order for 28 days"}]}
    cohort = [{"customer_id": "28", "reasons": []}, other, {"nested": [{"to": "ann@example.com"}]}]
    redacted = NAMES.redact({"cohort": cohort, "customers": 28, "note": "c-3 moved"})
    assert redacted == {"cohort": [other], "customers": 28, "note": "erased"}
    assert NAMES.redact(redacted) == redacted


def test_keeps_items_and_orders_with_the_id_of_the_customer():
    """Shops number customers and items alike: other lists keep the item."""
    names = CustomerNames(["15036", "c-3"], ["ann@example.com", "K7Q2-M9XD"])
    listed = {
        "customer_id": "14911",
        "recommendations": [{"item_id": "15036"}, {"item_id": "c-3"}],
        "uses": [
            {"used_by": "14911", "order_id": "15036"},
            {"used_by": "14912", "order_id": "c-3"},
        ],
        "items": ["15036", "22423"],
    }
    assert names.redact(listed) == listed
    of_the_customer = [
        {"customer_id": "15036"},
        {"used_by": "c-3"},
        {"customers": ["15036"]},
        {"note": "K7Q2-M9XD"},
    ]
    assert names.redact({"found": of_the_customer, "to": "ann@example.com"}) == {
        "found": [],
        "to": "erased",
    }


def test_finds_rows_by_json_forms_of_names(database):
    payloads = {
        "value": {"a": "28"},
        "text": {"a": "dear Brée & Co"},
        "message": {"a": "dear Brée &amp; Co"},
        "count": {"a": "for 28 days"},
        "other": {"a": "29"},
        "case": {"a": "to ANN@example.com"},
        "called": {"a": "by customer 28."},
    }
    add(
        database,
        *((Outbox(key=key, channel="C0CRM", payload=payload) for key, payload in payloads.items())),
    )
    keys = scalars(database, select(Outbox.key).where(NAMES.may_mention(Outbox.payload)))
    assert set(keys) == {"value", "text", "message", "case", "called"}
    assert "é" not in json.dumps(payloads)  # as the column stores it


def test_table_loses_its_row_and_select_its_option():
    """The buttons below a list stay, and no row loses a single cell."""
    names = CustomerNames(["c0042"], ["AAAA-BBBB"])

    def cells(*texts):
        return [{"type": "raw_text", "text": text} for text in texts]

    def option(name):
        return {"text": {"type": "plain_text", "text": name}, "value": f"{name}|cohort"}

    def select(*people):
        return {"type": "static_select", "options": [option(name) for name in people]}

    button = {"type": "button", "value": "cohort"}
    head, mine, other = (
        cells("customer", "risk"),
        cells("AAAA-BBBB", "53"),
        cells("CCCC-DDDD", "51"),
    )
    blocks = [
        {"type": "table", "rows": [head, mine, other]},
        {"type": "actions", "elements": [select("AAAA-BBBB", "CCCC-DDDD"), button]},
        {"type": "actions", "elements": [select("AAAA-BBBB"), button]},
        {"type": "context", "elements": [{"type": "mrkdwn", "text": "of AAAA-BBBB"}]},
    ]
    assert names.redact({"blocks": blocks})["blocks"] == [
        {"type": "table", "rows": [head, other]},
        {"type": "actions", "elements": [select("CCCC-DDDD"), button]},
        {"type": "actions", "elements": [button]},
    ]
