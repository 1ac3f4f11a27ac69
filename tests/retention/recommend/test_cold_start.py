"""New customers, new items and small shops get useful lists."""

import json
from collections import Counter
from datetime import timedelta
from functools import partial

import numpy as np
import pandas as pd
import pytest

from retention.list_rules import PLAIN
from retention.recommend import TrainedRecommender, recommend, train
from retention.recommend.reranking import Terms
from tests import readonly
from tests import shop as tiny
from tests.haste import hastily
from tests.retention.recommend.small_shop import import_relations, preferences

pytestmark = pytest.mark.usefixtures("hasty")
EXPLORING = Terms(PLAIN.model_copy(update={"explore": 0.2}))


@pytest.fixture(scope="module")
def cold_shop(tmp_path_factory):
    """Build regions with favourite items, a new customer and a new coffee."""
    shop = tiny.build(tmp_path_factory.mktemp("cold") / "home", customers=150, items=36, days=150)
    kind = shop.lake.table("items").execute().set_index("item_id")["category"]
    lines = preferences(shop.lake, shop.end)
    favourite = (
        lines.groupby(["customer_id", lines.item_id.map(kind)])["decayed_240"]
        .sum()
        .unstack()
        .idxmax(axis=1)
    )
    people = shop.lake.table("customers").execute()
    people["attributes"] = [
        json.dumps({"region": favourite.get(who)}) for who in people.customer_id
    ]
    newbie = people.iloc[[0]].assign(customer_id="newbie", attributes='{"region": "coffee"}')
    shop.lake.upsert("customers", pd.concat([people, newbie], ignore_index=True))
    items = shop.lake.table("items").execute()
    fresh = items.iloc[[0]].assign(item_id="i999", title="Coffee no. 999", category="coffee")
    shop.lake.upsert("items", fresh)
    with hastily():
        trained = train(shop.lake, cutoff=shop.end)
    kinds = pd.concat([kind, pd.Series({"i999": "coffee"})])
    with readonly.shared(shop) as cold:
        yield cold, trained, kinds, favourite


@pytest.fixture
def lists(cold_shop):
    """Make lists at the end of the cold shop."""
    shop, trained, *_ = cold_shop
    return partial(recommend, trained, shop.lake, as_of=shop.end)


def test_new_customers_get_bestsellers_of_their_region(cold_shop, lists):
    kind, lists = cold_shop[2], lists(["newbie", "nobody"], k=5)
    assert {item.source for item in lists["newbie"]} == {"popular_segment"}
    assert "same region" in lists["newbie"][0].why
    assert np.mean([kind[item.item_id] == "coffee" for item in lists["newbie"]]) >= 0.8
    assert {item.source for item in lists["nobody"]} == {"popular"}
    assert len(lists["newbie"]) == len(lists["nobody"]) == 5


def test_unknown_customers_get_recent_bestsellers_in_order(cold_shop, lists):
    """A ranker trained on known customers ordered their items at random."""
    shop, trained, _, _ = cold_shop
    assert trained.ranker("both") is not None
    items = lists(["nobody", "c0000"], k=10)["nobody"]
    since = pd.Timestamp(shop.end).tz_localize(None) - pd.Timedelta(days=28)
    events = shop.lake.table("events").execute()
    recent = events[(events.event_type == "purchase") & (events.occurred_at >= since)]
    buyers = recent.groupby("item_id").customer_id.nunique()
    buyer_counts = [int(item.why.removeprefix("popular: ").split()[0]) for item in items]
    assert buyer_counts == [buyers[item.item_id] for item in items]
    assert buyer_counts == sorted(buyers, reverse=True)[: len(items)]


def test_exploring_share_holds_new_items_similar_to_liked_ones(cold_shop, lists):
    lovers = [who for who, kind in cold_shop[3].items() if kind == "coffee"][:8]
    for items in lists(lovers, k=10, terms=EXPLORING).values():
        assert len({item.title for item in items}) == len(items) == 10
        new = [item for item in items if item.source == "new_item"]
        assert [item.item_id for item in new] == ["i999"]
        assert items[-1] == new[0]
        assert new[0].why.startswith("new, and much like Coffee")
    plain = lists(lovers, k=10).values()
    assert not any(item.source == "new_item" for items in plain for item in items)


@pytest.mark.nightly
def test_caps_hold_when_few_new_items_fit(small_copy):
    """Items that filled unused exploring places broke the brand cap: three instead of two."""
    shop = small_copy
    items = shop.lake.table("items").execute()
    items["brand"] = [f"b{number % 6}" for number in range(len(items))]
    coffee = items[items.category == "coffee"].iloc[[0]]
    fresh = coffee.loc[coffee.index.repeat(5)].assign(brand="b0")
    numbers = [f"99{n}" for n in range(5)]
    fresh["item_id"] = [f"i{number}" for number in numbers]
    fresh["title"] = [f"Coffee no. {number}" for number in numbers]
    fresh["attributes"] = [f'{{"parent": "p{number}"}}' for number in numbers]
    shop.lake.upsert("items", pd.concat([items, fresh], ignore_index=True))
    brand = shop.lake.table("items").execute().set_index("item_id")["brand"]
    trained = train(shop.lake, cutoff=shop.end)
    terms = Terms(PLAIN.model_copy(update={"explore": 0.5, "max_per_brand": 2}))
    everybody = [f"c{number:04}" for number in range(90)]
    lists = recommend(trained, shop.lake, everybody, k=8, as_of=shop.end, terms=terms)
    assert any(item.source == "new_item" for items in lists.values() for item in items)
    assert {len(items) for items in lists.values()} == {8}
    brands = [Counter(brand[item.item_id] for item in items) for items in lists.values()]
    assert max(max(counts.values()) for counts in brands) == 2


def test_artefact_alone_serves_new_customers(cold_shop, lists):
    shop, trained, _, favourite = cold_shop
    again = TrainedRecommender.from_bytes(trained.to_bytes())
    who = ["newbie", favourite.index[0]]
    restored = recommend(again, shop.lake, who, as_of=shop.end, terms=EXPLORING)
    assert restored == lists(who, terms=EXPLORING)


def test_item_is_new_at_the_moment_and_old_stock_is_not(cold_shop):
    shop, trained, _, _ = cold_shop
    assert list(trained.cold.new_items) == ["i999"]
    early = train(shop.lake, cutoff=shop.begin + timedelta(days=20))
    assert set(early.cold.new_items).isdisjoint(early.items)
    assert "i999" in early.cold.new_items


def test_referred_customers_get_items_their_referrers_like(cold_shop, tmp_path):
    cold, trained, kind, favourite = cold_shop
    shop = readonly.copy_of(cold, tmp_path / "home")
    lovers = [who for who, liked in favourite.items() if liked == "tea"][:3]
    before = recommend(trained, shop.lake, ["newbie"], k=5, as_of=shop.end)
    import_relations(
        shop,
        [(who, newcomer, "refer", "") for who in lovers for newcomer in ("newbie", "brought")]
        + [("late", lovers[0], "follow", (shop.end + timedelta(days=1)).isoformat())],
    )
    lists = recommend(
        trained, shop.lake, ["newbie", "brought", "late", "nobody"], k=5, as_of=shop.end
    )
    liked = set(preferences(shop.lake, shop.end, lovers)["item_id"])
    for who in ("newbie", "brought"):  # whether their region is known or not
        assert lists[who][0].source == "social"
        assert lists[who][0].why == "liked by people they know"
        assert np.mean([kind[item.item_id] == "tea" for item in lists[who]]) >= 0.6
        assert {item.item_id for item in lists[who] if item.source == "social"} <= liked
    assert {item.source for item in (*lists["late"], *lists["nobody"])} == {"popular"}
    assert [item.item_id for item in before["newbie"]] != [item.item_id for item in lists["newbie"]]
