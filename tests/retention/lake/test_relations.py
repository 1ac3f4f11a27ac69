"""Test relations that addresses and referral codes tell, and what is learned from them."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from retention.churn.explaining import facts
from retention.churn.snapshots import take_snapshot
from retention.lake import Lake
from retention.lake.relations import MAX_HOUSEHOLD, relations
from retention.recommend import recommend, train
from tests.benchmarks import relations as benchmark

NOW = datetime(2025, 1, 1, tzinfo=UTC)
PEOPLE = {
    "ann": {"street": "Hill Rd. 1", "city": "Ulm"},
    "ben": {"street": "hill rd 1", "city": "ULM", "referral_code": "BEN-5"},
    "cleo": {"street": "Other 2", "city": "Ulm", "gift_address": "Hill Rd 1, Ulm"},
    "dora": {"street": "Third 3", "referred_by": "ben 5"},
    "eve": {},
}


@pytest.fixture
def lake(settings) -> Lake:
    made = Lake.open(settings)
    made.derives_relations = True
    keep(made, PEOPLE)
    return made


def keep(lake: Lake, people: dict[str, dict[str, str]], since: datetime | None = None) -> None:
    rows = {
        "customer_id": [*people],
        "attributes": [json.dumps(each) for each in people.values()],
        "created_at": [since or datetime(2024, 6, 1, tzinfo=UTC)] * len(people),
    }
    lake.upsert("customers", pd.DataFrame(rows))


def pairs(lake: Lake, at: datetime = NOW) -> set[tuple[str, str, str]]:
    return {tuple(row) for row in relations(lake, at).itertuples(index=False)}


def test_addresses_and_codes_tell_relations_of_both_sides(lake):
    one_way = {
        ("ann", "ben", "household"),
        ("cleo", "ann", "gift"),
        ("cleo", "ben", "gift"),
        ("ben", "dora", "refer"),
    }
    assert pairs(lake) == one_way | {(other, who, kind) for who, other, kind in one_way}


def test_relations_are_derived_only_where_the_setting_says_so(settings, lake):
    assert not settings.derive_relations
    lake.derives_relations = False
    assert pairs(lake) == set()
    assert Lake.open(settings.model_copy(update={"derive_relations": True})).derives_relations


def test_relation_is_known_once_both_customers_are(lake):
    assert pairs(lake, datetime(2024, 5, 1, tzinfo=UTC)) == set()
    keep(lake, {"ben": PEOPLE["ben"]}, since=NOW - timedelta(days=1))
    assert ("ann", "ben", "household") not in pairs(lake, NOW - timedelta(days=2))
    assert ("ann", "ben", "household") in pairs(lake)


def test_corrected_address_leaves_no_relation_behind(lake):
    keep(lake, {"ben": {"street": "Far 9"}})
    assert {"ben"} & {who for who, *_ in pairs(lake)} == set()


def test_a_city_is_no_home_and_a_code_of_several_is_nobodys(lake):
    keep(lake, {f"new{n}": {"city": "Bonn", "referral_code": "none"} for n in range(3)})
    keep(lake, {"late": {"referred_by": "none"}})
    assert not [pair for pair in pairs(lake) if pair[0].startswith(("new", "late"))]


def test_address_of_many_is_no_household(lake):
    keep(lake, {f"office{n}": {"address": "Tower 1"} for n in range(MAX_HOUSEHOLD + 1)})
    assert not [who for who, *_ in pairs(lake) if who.startswith("office")]


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Lake:
    return benchmark.made_up(tmp_path_factory.mktemp("shop"), matters=True, customers=120)


def test_share_of_lapsed_contacts_equals_a_count_by_pandas(shop):
    cutoff = benchmark.cutoffs()[0]
    events = shop.table("events", before=cutoff).execute()
    at = pd.Timestamp(cutoff).tz_localize(None)
    silent = (at - events.groupby("customer_id").occurred_at.max()) > pd.Timedelta(days=28)
    frame = take_snapshot(shop, cutoff, benchmark.WINDOW).frame.set_index("customer_id")
    expected = {
        who: float(silent[f"c{int(who[1:]) ^ 1}"]) if f"c{int(who[1:]) ^ 1}" in silent else np.nan
        for who in frame.index
    }
    pd.testing.assert_series_equal(
        frame.contacts_lapsed, pd.Series(expected), check_names=False, check_index_type=False
    )
    assert 0 < frame.contacts_lapsed.mean() < 1


def test_later_accounts_and_relations_change_no_feature(shop):
    cutoff = benchmark.cutoffs()[0]
    tomorrow = cutoff + timedelta(days=1)
    before = take_snapshot(shop, cutoff, benchmark.WINDOW).frame.contacts_lapsed.to_numpy()
    keep(shop, {"new": {"address": "0 Hill Road"}}, since=tomorrow)
    later = pd.DataFrame(
        {"customer_id": ["c0"], "other_id": ["c9"], "kind": ["friend"], "occurred_at": [tomorrow]}
    )
    shop.upsert("relations", later)
    after = take_snapshot(shop, cutoff, benchmark.WINDOW).frame.contacts_lapsed.to_numpy()
    np.testing.assert_array_equal(before, after)


@pytest.mark.nightly
def test_reasons_of_relations_name_nobody(shop):
    row = {"contacts_lapsed": 1.0}
    customer = facts.Customer(row, {"contacts_lapsed": 0.2}, 28)
    assert "close contacts" in next(facts.sentences("contacts", customer, raises=True))
    cutoff = benchmark.cutoffs()[-1]
    new = [
        f"c{n}"
        for n in range(120)
        if f"c{n}" not in {*shop.table("events", before=cutoff).execute().customer_id}
    ]
    lists = recommend(train(shop, cutoff=cutoff), shop, new, k=5, as_of=cutoff)
    social = [item for items in lists.values() for item in items if item.source == "social"]
    assert {item.why for item in social} == {"liked by people they know"}


@pytest.mark.nightly
def test_relations_help_where_they_matter_and_do_no_harm_elsewhere(tmp_path):
    gains = {}
    for matters in (True, False):
        lake = benchmark.made_up(tmp_path / str(matters), matters=matters)
        gains[matters] = benchmark.recall_gain(lake)[1], benchmark.log_loss_gain(lake)
    assert gains[True][0].low > 0.1
    assert gains[True][1].low > 0
    assert gains[False][1].high > 0  # no loss that can be told from chance
