"""Test titles that people set: where they show, and what is proposed."""

from datetime import timedelta

import pytest

from retention.errors import BadInput
from retention.lake import Lake
from retention.lake.item_titles import own_titles, proposed_title, proposed_titles, set_titles
from retention.recommend.catalogue import catalogue
from tests.world import change


@pytest.mark.parametrize(
    ("title", "brand", "proposed"),
    [
        ("ACME_GREEN_TEA", "", "Acme Green Tea"),
        ("Acme green tea by ACME", "Acme", "Acme green tea by"),
        ("Tea tea | mug", "", "Tea mug"),
        ("Salt &amp; pepper", "", "Salt & pepper"),
        ("Coffee No. 3", "Cof", "Coffee No. 3"),
        ("_", "", "_"),
    ],
)
def test_proposal_is_readable(title, brand, proposed):
    assert proposed_title(title, brand) == proposed


def test_title_that_a_person_set_is_read_by_people_until_it_is_taken_back(shop_copy):
    lake = Lake.open(shop_copy.settings)
    item, of_data = next(iter(catalogue(lake).titles.items()))
    change(shop_copy.database, set_titles, {item: "Green tea"}, "U0ANALYST")
    read = catalogue(lake)
    assert (read.readable_title(item), read.title(item)) == ("Green tea", of_data)
    assert item not in {one.item_id for one in proposed_titles(lake, shop_copy.end)}
    change(shop_copy.database, set_titles, {item: ""}, "U0ANALYST")
    assert own_titles(shop_copy.settings) == {}
    assert catalogue(lake).readable_title(item) != "Green tea"
    with pytest.raises(BadInput):
        change(shop_copy.database, set_titles, {item: "x" * 121}, "U0ANALYST")


def test_proposals_count_no_purchase_after_their_time(shop_copy):
    lake = Lake.open(shop_copy.settings)
    before = shop_copy.end - timedelta(days=30)
    early = {one.item_id: one.sold for one in proposed_titles(lake, before)}
    late = {one.item_id: one.sold for one in proposed_titles(lake, shop_copy.end)}
    assert early.keys() == late.keys()
    assert all(early[item] <= late[item] for item in early)
