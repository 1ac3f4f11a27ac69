"""Training, lists and evaluation on a tiny shop with favourite categories."""

import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from retention.churn.explaining.facts import Customer, silence_text
from retention.errors import BadInput, Cancelled, TooLittleData
from retention.list_rules import RecommendRules
from retention.recommend import (
    Terms,
    TrainedRecommender,
    evaluate,
    reasons,
    recommend,
    serving,
    train,
)
from retention.recommend.history import read
from retention.recommend.serving import ServingContext
from retention.templating import text
from tests import shop as tiny
from tests.retention.recommend.small_shop import Line, add_events, make_shop, preferences

pytestmark = pytest.mark.usefixtures("hasty")
NOW = datetime(2025, 6, 1, tzinfo=UTC)


def ago(who: str, kind: str, days: int, item: str, now: datetime = NOW, **rest) -> Line:
    """Return an event some days ago."""
    return who, kind, now - timedelta(days=days), item, rest


def test_lists_have_k_distinct_items_best_first(shop, lists):
    for items in lists(customers(shop), k=7).values():
        assert len({item.item_id for item in items}) == len({item.title for item in items}) == 7
        scores = [item.score for item in items]
        assert scores == sorted(scores, reverse=True)
        assert all(item.why and item.source for item in items)


def customers(shop, count: int = 40) -> list[str]:
    return sorted(set(preferences(shop.lake, shop.end)["customer_id"]))[:count]


def ids(lists) -> dict[str, list[str]]:
    return {customer: [item.item_id for item in items] for customer, items in lists.items()}


def test_customers_get_their_favourite_category(shop, lists):
    lines = preferences(shop.lake, shop.end)
    kind = shop.lake.table("items").execute().set_index("item_id")["category"]
    lines["category"] = lines["item_id"].map(kind)
    favourite = lines.groupby("customer_id")["category"].agg(lambda values: values.mode()[0])
    shares = [
        np.mean([kind[item.item_id] == favourite[customer] for item in items])
        for customer, items in lists(customers(shop), k=5).items()
    ]
    assert np.mean(shares) > 0.6


def test_unknown_customer_gets_popular_items(shop, lists):
    known = customers(shop, 1)[0]
    found = lists(["nobody", known, "nobody"], k=4)
    assert list(found) == ["nobody", known]
    assert [item.source for item in found["nobody"]] == ["popular"] * 4
    assert found[known][0].source == "buy_again"


def test_list_does_not_depend_on_other_customers_in_batch(shop, lists):
    several = customers(shop, 5)
    together = ids(lists(several, k=6))
    assert together == {who: ids(lists([who], k=6))[who] for who in several}


def test_histories_of_many_customers_are_read_at_once(shop, lists, monkeypatch):
    several, sizes = customers(shop, 11), []
    together = lists(several, k=6)
    monkeypatch.setattr(serving, "BATCH", 2)
    monkeypatch.setattr(serving, "READ", 8)

    def reading(lake, as_of, wanted):
        sizes.append(len(wanted))
        return read(lake, as_of, wanted)

    monkeypatch.setattr(serving, "cached_histories", reading)
    assert lists(several, k=6) == together
    assert sizes == [8, 3]


def test_large_k_returns_all_items_that_may_be_sold(lists):
    items = lists(["nobody"], k=1000)["nobody"]
    assert len(items) == len({item.title for item in items}) <= 60


@pytest.mark.parametrize(
    ("who", "day", "sources"),
    [("nobody", -1, ["catalogue"] * 3), ("c0000", 200, ["buy_again"])],
    ids=["before the first event", "own purchases"],
)
def test_lists_without_a_model_hold_own_items_or_the_catalogue(shop, who, day, sources):
    at = shop.begin + timedelta(days=day)
    items = recommend(None, shop.lake, [who], k=3, as_of=at)[who]
    assert [item.source for item in items][: len(sources)] == sources


def test_reasons_are_the_customers_own_history(shop, lists):
    lines = preferences(shop.lake, shop.end).set_index(["customer_id", "item_id"])
    titles = shop.lake.table("items").execute().set_index("title")["item_id"]
    for customer, items in lists(customers(shop), k=8).items():
        for item in items:
            if item.why.startswith("usually every"):
                assert lines.loc[(customer, item.item_id)].purchase_days >= 3
            if item.source == "collaborative":
                because = item.why.removeprefix("because they bought ")
                assert (customer, titles[because]) in lines.index
                assert (customer, item.item_id) not in lines.index


def test_artefact_gives_same_lists_and_holds_no_customer(shop, trained, lists):
    content = trained.to_bytes()
    restored = TrainedRecommender.from_bytes(content)
    some = customers(shop, 5)
    assert recommend(restored, shop.lake, some, as_of=shop.end) == lists(some)
    assert restored.metrics == trained.metrics
    assert not [who for who in customers(shop, 300) if who.encode() in content]


def test_training_reports_held_out_metrics_and_baselines(trained):
    best = max(figures["ndcg"] for figures in trained.metrics["baselines"].values())
    assert trained.metrics["customers"] >= 20
    assert trained.metrics["ndcg"] >= best - 0.02


def test_later_events_change_neither_model_nor_lists(small_copy):
    shop = small_copy
    cutoff = shop.end - timedelta(days=30)
    customer = sorted(set(preferences(shop.lake, cutoff)["customer_id"]))[:20]
    before = train(shop.lake, cutoff=cutoff)
    listed = recommend(before, shop.lake, customer, as_of=cutoff)
    append_future(shop, cutoff)
    after = train(shop.lake, cutoff=cutoff)
    assert after.to_bytes() == before.to_bytes()
    assert recommend(after, shop.lake, customer, as_of=cutoff) == listed


def append_future(shop, cutoff) -> None:
    """Add 1,000 purchases after the cutoff and one known only after it."""
    day = timedelta(days=1)
    late = ("c0", "purchase", cutoff - day, "i000", {"available_at": cutoff + day})
    future = [
        ("c0", "purchase", cutoff + timedelta(hours=number), "i000", {}) for number in range(1000)
    ]
    add_events(shop, [*future, late])


def test_barred_items_are_never_listed(small_copy):
    shop = small_copy
    items = shop.lake.table("items").execute()
    barred = {
        "i000": {"in_stock": False},
        "i001": {"attributes": '{"recommendable": false}'},
        "i002": {"category": "FUEL"},
        "i003": {"attributes": '{"department": "POSTAL CENTER"}'},
    }
    for item_id, values in barred.items():
        items.loc[items.item_id == item_id, list(values)] = list(values.values())
    shop.lake.upsert("items", items)
    trained = train(shop.lake, cutoff=shop.end)
    lists = recommend(trained, shop.lake, [*customers(shop), "nobody"], k=30, as_of=shop.end)
    offered = {item for items in ids(lists).values() for item in items}
    assert not offered & set(barred)
    assert len(offered) == 26
    assert not set(trained.items) & {"i001", "i002", "i003"}


def test_cancelling_stops_training(shop):
    calls = []

    def cancel(done, total, what):
        calls.append(what)
        if len(calls) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        train(shop.lake, cutoff=shop.end, progress=cancel)
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("age", "gap", "ago", "silent"),
    [
        (0.9, 1.6, "today", "last order less than a day ago"),
        (1.9, 3.6, "yesterday", "last order 1 day ago"),
        (269.7, 1.6, "269 days ago", "no order for 269 days"),
    ],
)
def test_reasons_count_whole_days_like_churn_reasons(age, gap, ago, silent):
    line = {"days_since_purchase": age, "purchase_days": 1, "gap_days": float("nan")}
    assert reasons.own_history_reason(line) == ("buy_again", f"bought once, last {ago}")
    customer = Customer({"gap_median": gap, "recency_days": age}, {}, 28)
    assert silence_text(customer, age > gap).startswith(silent)


def test_later_events_do_not_refresh_cart_and_view_ages(tmp_path):
    """A view today turned a cart of last spring into 'put in the cart today'."""
    lines = [
        ago("c", "cart", 60, "kettle"),
        ago("c", "view", 3, "kettle"),
        ago("c", "view", 40, "pan"),
        ago("c", "view", 30, "pan"),
        ago("c", "email_click", 2, "pan"),
        ago("c", "view", 5, "pot"),
    ]
    items = [(name, name.title(), "", 9.0) for name in ("kettle", "pan", "pot")]
    lists = recommend(None, make_shop(tmp_path, lines, items).lake, ["c"], k=3, as_of=NOW)["c"]
    assert {item.item_id: item.why for item in lists} == {
        "kettle": "put in the cart 60 days ago, not bought yet",
        "pan": "viewed twice, last 30 days ago",
        "pot": "viewed once, last 5 days ago",
    }


@pytest.mark.nightly
@pytest.mark.parametrize("count", [2, 60])
def test_returned_and_badly_rated_items_are_not_offered_as_popular(shop_copy, trained, count):
    """A customer who returned everything counted as new and got the same items again."""
    shop = shop_copy
    assert trained.rankers
    popular = ids(recommend(trained, shop.lake, ["nobody"], k=2, as_of=shop.end))["nobody"]
    for item in popular:
        back = [
            ago("back", "purchase", 9, item, shop.end),
            ago("back", "return", 3, item, shop.end),
        ]
        add_events(shop, [*back, ago("rater", "review", 4, item, shop.end, rating=1.0)])
    lists = ids(recommend(trained, shop.lake, ["back", "rater"], k=count, as_of=shop.end))
    assert {who: len(items) for who, items in lists.items()} == {"back": count, "rater": count}
    assert not [who for who, items in lists.items() if {*items[:58]} & {*popular}]


def test_filling_a_list_reads_only_as_many_fillers_as_needed(tmp_path, monkeypatch):
    """Sorting all 20,000 items for each customer took 30 times as long."""
    read, fillers = [], ServingContext.fillers.func

    class RecordedFillers(tuple):
        __slots__ = ()

        def __iter__(self):
            for filler in tuple.__iter__(self):
                read.append(filler)
                yield filler

    monkeypatch.setattr(
        ServingContext, "fillers", property(lambda shop: RecordedFillers(fillers(shop)))
    )
    lines = [ago("c", "purchase", 9, "i000"), ago("c", "return", 3, "i000")]
    items = [(f"i{number:03}", f"Item {number}", "", 9.0) for number in range(200)]
    lists = ids(recommend(None, make_shop(tmp_path, lines, items).lake, ["c"], k=5, as_of=NOW))
    assert lists["c"] == [f"i{number:03}" for number in range(1, 6)]
    assert len(read) < 20


def test_reasons_name_views_and_carts_not_purchases(shop_copy, trained):
    """Customers without purchases read 'because they bought X'."""
    shop = shop_copy
    says = {
        "view": "because they looked at Coffee no. (0|6)",
        "cart": "because they put Coffee no. (0|6) in the cart",
        "search": "because they showed interest in Coffee no. (0|6)",
    }
    add_events(
        shop, [ago(kind, kind, 2, item, shop.end) for kind in says for item in ("i000", "i006")]
    )
    lists = recommend(trained, shop.lake, list(says), k=8, as_of=shop.end)
    for kind, items in lists.items():
        whys = {item.why for item in items if item.source == "collaborative"}
        assert whys
        assert all(re.fullmatch(says[kind], why) for why in whys)


def test_terminal_explains_a_list_the_policy_leaves_empty():
    """The terminal wrote 'no items yet' when the policy excluded all items."""
    output = text(
        "terminal/recommend.txt.j2",
        customer_id="c",
        result={"items": [], "merged": None, "note": ""},
    )
    assert "policy's `exclude_…`" in output
    assert "no items yet" not in output


def test_titles_are_one_line(tmp_path):
    items = [("a", "Kettle,\n  steel\t1.7 l", "", 9.0), ("b", " \n ", "", 9.0)]
    shop = make_shop(tmp_path, [ago("c", "purchase", 2, "a")], items)
    lists = recommend(None, shop.lake, ["c"], k=2, as_of=NOW)["c"]
    assert [item.title for item in lists] == ["Kettle, steel 1.7 l", "b"]


def test_errors_name_the_fix(shop):
    with pytest.raises(TooLittleData, match="later cutoff"):
        train(shop.lake, cutoff=shop.begin)
    says = r"28 days after .* are not over in the data, for it goes from .* to "
    for past in (-10, 400):
        with pytest.raises(BadInput, match=says):
            evaluate(shop.lake, cutoff=shop.end + timedelta(days=past))
    with pytest.raises(BadInput, match="k is 0"):
        evaluate(shop.lake, cutoff=shop.end, k=0)
    with pytest.raises(BadInput, match="auto, blend, user_knn_cosine"):
        train(shop.lake, cutoff=shop.end, model="magic")


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    ("customers", "items", "kinds", "says"),
    [
        (2, 6, {"mixture"}, "popularity only"),
        (35, 24, {"mixture"}, "takes 40 customers"),
        (70, 24, {"signals", "popular"}, "trees and nets take 100 customers"),
    ],
)
def test_small_shop_describes_its_fallback(tmp_path, customers, items, kinds, says):
    shop = tiny.build(tmp_path / "home", customers=customers, items=items, days=120)
    trained = train(shop.lake, cutoff=shop.end)
    assert {*trained.kinds.values()} <= kinds
    assert says in trained.rung
    restored = TrainedRecommender.from_bytes(trained.to_bytes())
    assert restored.kinds == trained.kinds
    for terms in (Terms(), Terms(RecommendRules(explore=0.2))):
        who = ["c0000", "nobody"]
        lists = recommend(restored, shop.lake, who, k=3, as_of=shop.end, terms=terms)
        assert [len(each) for each in lists.values()] == [3, 3]
