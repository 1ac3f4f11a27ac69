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
        "no order for 28 days", "c-31", "c-3-1", "xc-3", "joann@example.com", "128",
        "jo.ann@example.com", "jo+ann@example.com", "ann@example.com.au", "c-3.5", "c-3@example.com",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_name_is_none(text):
    assert not NAMES.named_in(text)


def test_a_short_number_is_a_name_in_a_text_that_names_people_by_their_ids():
    assert NAMES.spoken_of_in("used by 28, order 17")
    assert NAMES.spoken_of_in("17 is used by 28.")
    assert not any(map(NAMES.spoken_of_in, ["used by 281", "c7,0.28", "28.20"]))


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
        "uses": [{"used_by": "14911", "order_id": "15036"}, {"used_by": "14912", "order_id": "c-3"}],
        "items": ["15036", "22423"],
    }
    assert names.out_of(listed) == listed
    of_the_customer = [
        {"customer_id": "15036"},
        {"used_by": "c-3"},
        {"customers": ["15036"]},
        {"note": "K7Q2-M9XD"},
    ]
    assert names.out_of({"found": of_the_customer, "to": "ann@example.com"}) == {"found": [], "to": "erased"}


def test_rows_are_found_by_what_json_makes_of_a_name(database):
    told = {"value": {"a": "28"}, "text": {"a": "dear Brée & Co"}, "message": {"a": "dear Brée &amp; Co"},
            "count": {"a": "for 28 days"}, "other": {"a": "29"}}  # fmt: skip
    with database.transaction() as session:
        session.add_all(Outbox(key=key, channel="C0CRM", payload=payload) for key, payload in told.items())
    with database.reading() as session:
        found = session.scalars(select(Outbox.key).where(NAMES.within(Outbox.payload))).all()
    assert set(found) == {"value", "text", "message"}
    assert "é" not in json.dumps(told)  # as the column stores it
