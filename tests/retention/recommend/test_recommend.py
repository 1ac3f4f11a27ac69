"""Training, lists and evaluation on a tiny shop with favourite categories."""

import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from retention.churn.facts import silence_text
from retention.errors import BadInput, Cancelled, TooLittleData
from retention.lake.importing import import_files
from retention.recommend import TrainedRecommender, evaluate, reasons, recommend, train
from retention.recommend.history import preferences
from retention.recommend.serving import ServingContext
from retention.templating import text
from tests import shop as tiny
from tests.retention.recommend.small_shop import make_shop


def test_lists_have_k_distinct_items_best_first(shop, trained):
    lists = recommend(trained, shop.lake, customers(shop), k=7, as_of=shop.end)
    for items in lists.values():
        assert len({item.item_id for item in items}) == len({item.title for item in items}) == 7
        assert [item.score for item in items] == sorted(
            (item.score for item in items), reverse=True
        )
        assert all(item.why and item.source for item in items)


def customers(shop, count: int = 40) -> list[str]:
    return sorted(set(preferences(shop.lake, shop.end)["customer_id"]))[:count]


def test_customers_get_their_favourite_category(shop, trained):
    lines = preferences(shop.lake, shop.end)
    kind = shop.lake.table("items").execute().set_index("item_id")["category"]
    lines["category"] = lines["item_id"].map(kind)
    favourite = lines.groupby("customer_id")["category"].agg(lambda values: values.mode()[0])
    lists = recommend(trained, shop.lake, customers(shop), k=5, as_of=shop.end)
    shares = [
        np.mean([kind[item.item_id] == favourite[customer] for item in items])
        for customer, items in lists.items()
    ]
    assert np.mean(shares) > 0.6


def test_unknown_customer_gets_popular_items(shop, trained):
    known = customers(shop, 1)[0]
    lists = recommend(trained, shop.lake, ["nobody", known, "nobody"], k=4, as_of=shop.end)
    assert list(lists) == ["nobody", known]
    assert {item.source for item in lists["nobody"]} == {"popular"}
    assert len(lists["nobody"]) == 4
    assert lists[known][0].source == "buy_again"


def test_list_does_not_depend_on_other_customers_in_batch(shop, trained):
    several = customers(shop, 5)
    together = recommend(trained, shop.lake, several, k=6, as_of=shop.end)
    for customer in several:
        alone = recommend(trained, shop.lake, [customer], k=6, as_of=shop.end)[customer]
        assert [item.item_id for item in alone] == [item.item_id for item in together[customer]]


def test_large_k_returns_all_items_that_may_be_sold(shop, trained):
    lists = recommend(trained, shop.lake, ["nobody"], k=1000, as_of=shop.end)["nobody"]
    titles = {item.title for item in lists}
    assert len(lists) == len(titles) <= 60


def test_catalogue_fills_lists_before_the_first_event(shop):
    lists = recommend(None, shop.lake, ["nobody"], k=3, as_of=shop.begin - timedelta(days=1))[
        "nobody"
    ]
    assert [item.source for item in lists] == ["catalogue"] * 3


def test_own_purchases_lead_without_a_model(shop):
    customer = customers(shop, 1)[0]
    lists = recommend(None, shop.lake, [customer], k=3, as_of=shop.end)[customer]
    assert lists[0].source == "buy_again"
    assert "last" in lists[0].why


def test_reasons_are_the_customers_own_history(shop, trained):
    lines = preferences(shop.lake, shop.end).set_index(["customer_id", "item_id"])
    titles = shop.lake.table("items").execute().set_index("title")["item_id"]
    for customer, items in recommend(
        trained, shop.lake, customers(shop), k=8, as_of=shop.end
    ).items():
        for item in items:
            if item.why.startswith("usually every"):
                assert lines.loc[(customer, item.item_id)].purchase_days >= 3
            if item.source == "collaborative":
                because = item.why.removeprefix("because they bought ")
                assert (customer, titles[because]) in lines.index
                assert (customer, item.item_id) not in lines.index


def test_artefact_gives_same_lists_and_holds_no_customer(shop, trained):
    content = trained.to_bytes()
    restored = TrainedRecommender.from_bytes(content)
    some = customers(shop, 5)
    assert recommend(restored, shop.lake, some, as_of=shop.end) == recommend(
        trained, shop.lake, some, as_of=shop.end
    )
    assert restored.metrics == trained.metrics
    assert all(
        customer.encode() not in content for customer in customers(shop, 300) if len(customer) > 2
    )


def test_training_reports_held_out_metrics_and_baselines(trained):
    baselines = trained.metrics["baselines"]
    assert trained.metrics["customers"] >= 20
    assert (
        trained.metrics["ndcg"]
        >= max(baselines["popular"]["ndcg"], baselines["buy_it_again"]["ndcg"]) - 0.02
    )


def test_later_events_change_neither_model_nor_lists(tmp_path):
    shop = tiny.build(tmp_path / "home", customers=80, items=24, days=120)
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
    import pandas as pd

    from retention.lake.importing import import_files

    at = [cutoff + timedelta(hours=number) for number in range(1000)] + [cutoff - timedelta(days=1)]
    frame = pd.DataFrame(
        {"occurred_at": at, "customer_id": "c0", "event_type": "purchase", "item_id": "i000"}
    )
    frame["available_at"] = pd.Series(
        [pd.NaT] * 1000 + [cutoff + timedelta(days=1)], dtype="datetime64[us, UTC]"
    )
    file = shop.settings.home / "future.parquet"
    frame.to_parquet(file)
    import_files(shop.lake, shop.database, shop.settings, "events", [str(file)])


def test_barred_items_are_never_listed(tmp_path):
    import pandas as pd

    shop = tiny.build(tmp_path / "home", customers=60, items=24, days=120)
    items = shop.lake.table("items").execute()
    barred = {
        "i000": {"in_stock": False},
        "i001": {"attributes": '{"recommendable": false}'},
        "i002": {"category": "FUEL"},
        "i003": {"attributes": '{"department": "POSTAL CENTER"}'},
    }
    for item_id, values in barred.items():
        for column, value in values.items():
            items.loc[items.item_id == item_id, column] = value
    shop.lake.upsert("items", pd.DataFrame(items))
    trained = train(shop.lake, cutoff=shop.end)
    lists = recommend(trained, shop.lake, [*customers(shop), "nobody"], k=30, as_of=shop.end)
    offered = {item.item_id for items in lists.values() for item in items}
    assert not offered & set(barred)
    assert len(offered) == 20
    assert not set(trained.items) & {"i001", "i002", "i003"}


def test_small_shop_describes_its_fallback(tmp_path):
    shop = tiny.build(tmp_path / "home", customers=8, items=12, days=90)
    trained = train(shop.lake, cutoff=shop.end)
    assert trained.sources.model is None
    assert "popularity only" in trained.rung
    restored = TrainedRecommender.from_bytes(trained.to_bytes())
    assert len(recommend(restored, shop.lake, ["nobody"], k=3, as_of=shop.end)["nobody"]) == 3


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
    ("age", "ago", "silent"),
    [
        (0.9, "today", "last order less than a day ago"),
        (1.9, "yesterday", "no order for 1 day"),
        (269.7, "269 days ago", "no order for 269 days"),
    ],
)
def test_reasons_count_whole_days_like_churn_reasons(age, ago, silent):
    line = {"days_since_purchase": age, "purchase_days": 1, "gap_days": float("nan")}
    assert reasons.own_history_reason(line) == ("buy_again", f"bought once, last {ago}")
    assert silence_text({"gap_median": 1.6, "recency_days": age}, 28).startswith(silent)


def test_later_events_do_not_refresh_cart_and_view_ages(tmp_path):
    """A view today turned a cart of last spring into 'put in the cart today'."""
    now = datetime(2025, 6, 1, tzinfo=UTC)
    lines = [
        ("c", "cart", now - timedelta(days=60), "kettle", {}),
        ("c", "view", now - timedelta(days=3), "kettle", {}),
        ("c", "view", now - timedelta(days=40), "pan", {}),
        ("c", "view", now - timedelta(days=30), "pan", {}),
        ("c", "email_click", now - timedelta(days=2), "pan", {}),
        ("c", "view", now - timedelta(days=5), "pot", {}),
    ]
    shop = make_shop(
        tmp_path, lines, [(filler, filler.title(), "", 9.0) for filler in ("kettle", "pan", "pot")]
    )
    lists = recommend(None, shop.lake, ["c"], k=3, as_of=now)["c"]
    assert {item.item_id: item.why for item in lists} == {
        "kettle": "put in the cart 60 days ago, not bought yet",
        "pan": "viewed twice, last 30 days ago",
        "pot": "viewed once, last 5 days ago",
    }


@pytest.mark.nightly
@pytest.mark.parametrize("count", [2, 24])
def test_returned_and_badly_rated_items_are_not_offered_as_popular(tmp_path, count):
    """A customer who returned everything counted as new and got the same items again."""
    shop = tiny.build(tmp_path / "home", customers=90, items=24, days=120)
    trained = train(shop.lake, cutoff=shop.end)
    assert trained.rankers
    popular = [
        item.item_id
        for item in recommend(trained, shop.lake, ["nobody"], k=2, as_of=shop.end)["nobody"]
    ]
    lines = [
        {
            "customer_id": customer,
            "event_type": kind,
            "occurred_at": shop.end - timedelta(days=ago),
            "item_id": item,
            "rating": rating,
            "channel": "web",
        }
        for item in popular
        for customer, kind, ago, rating in (
            ("back", "purchase", 9, None),
            ("back", "return", 3, None),
            ("rater", "review", 4, 1.0),
        )
    ]
    file = tmp_path / "back.parquet"
    pd.DataFrame(lines).to_parquet(file)
    import_files(shop.lake, shop.database, shop.settings, "events", [str(file)])
    for customer, items in recommend(
        trained, shop.lake, ["back", "rater"], k=count, as_of=shop.end
    ).items():
        assert len(items) == count, customer
        assert not {item.item_id for item in items[:22]} & set(popular), customer


def test_filling_a_list_reads_only_as_many_fillers_as_needed(tmp_path, monkeypatch):
    """Sorting all 20,000 items for each customer took 30 times as long."""
    now, read, fillers = datetime(2025, 6, 1, tzinfo=UTC), [], ServingContext.fillers.func

    class RecordedFillers(tuple):
        __slots__ = ()

        def __iter__(self):
            for filler in tuple.__iter__(self):
                read.append(filler)
                yield filler

    monkeypatch.setattr(
        ServingContext, "fillers", property(lambda shop: RecordedFillers(fillers(shop)))
    )
    lines = [
        ("c", kind, now - timedelta(days=ago), "i000", {})
        for kind, ago in (("purchase", 9), ("return", 3))
    ]
    shop = make_shop(
        tmp_path, lines, [(f"i{number:03}", f"Item {number}", "", 9.0) for number in range(200)]
    )
    lists = [item.item_id for item in recommend(None, shop.lake, ["c"], k=5, as_of=now)["c"]]
    assert lists == [f"i{number:03}" for number in range(1, 6)]
    assert len(read) < 20


def test_reasons_name_views_and_carts_not_purchases(tmp_path):
    """Customers without purchases read 'because they bought X'."""
    shop = tiny.build(tmp_path / "home", customers=90, items=24, days=120)
    trained = train(shop.lake, cutoff=shop.end)
    lines = [
        {
            "customer_id": customer,
            "event_type": kind,
            "occurred_at": shop.end - timedelta(days=2),
            "item_id": item,
        }
        for customer, kind in (("looker", "view"), ("keeper", "cart"), ("caller", "search"))
        for item in ("i000", "i006")
    ]
    file = tmp_path / "looked.parquet"
    pd.DataFrame(lines).to_parquet(file)
    import_files(shop.lake, shop.database, shop.settings, "events", [str(file)])
    lists = recommend(trained, shop.lake, ["looker", "keeper", "caller"], k=8, as_of=shop.end)
    reasons_ = {
        customer: {item.why for item in items if item.source == "collaborative"}
        for customer, items in lists.items()
    }
    titles = "Coffee no. (0|6)"
    assert all(reasons_.values())
    assert all(re.fullmatch(f"because they looked at {titles}", why) for why in reasons_["looker"])
    assert all(
        re.fullmatch(f"because they put {titles} in the cart", why) for why in reasons_["keeper"]
    )
    assert all(
        re.fullmatch(f"because they showed interest in {titles}", why) for why in reasons_["caller"]
    )


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
    now = datetime(2025, 6, 1, tzinfo=UTC)
    shop = make_shop(
        tmp_path,
        [("c", "purchase", now - timedelta(days=2), "a", {})],
        [("a", "Kettle,\n  steel\t1.7 l", "", 9.0), ("b", " \n ", "", 9.0)],
    )
    lists = recommend(None, shop.lake, ["c"], k=2, as_of=now)["c"]
    assert [item.title for item in lists] == ["Kettle, steel 1.7 l", "b"]


def test_errors_name_the_fix(shop):
    with pytest.raises(TooLittleData, match="later cutoff"):
        train(shop.lake, cutoff=shop.begin)
    for past in (-10, 400):
        with pytest.raises(
            BadInput, match=r"28 days after .* are not over in the data, for it goes from .* to "
        ):
            evaluate(shop.lake, cutoff=shop.end + timedelta(days=past))
    with pytest.raises(BadInput, match="k is 0"):
        evaluate(shop.lake, cutoff=shop.end, k=0)
    with pytest.raises(BadInput, match="auto, blend, user_knn_cosine"):
        train(shop.lake, cutoff=shop.end, model="magic")


def test_small_shop_uses_signals_and_describes_the_threshold(tmp_path):
    shop = tiny.build(tmp_path / "home", customers=70, items=24, days=120)
    trained = train(shop.lake, cutoff=shop.end)
    assert trained.rankers
    assert set(trained.kinds.values()) <= {"signals", "popular"}
    assert "trees and nets take 100 customers" in trained.rung


def test_tiny_shop_uses_the_mixture(tmp_path):
    shop = tiny.build(tmp_path / "home", customers=35, items=24, days=120)
    trained = train(shop.lake, cutoff=shop.end)
    assert not trained.rankers
    assert trained.kinds == {"both": "mixture", "new": "mixture"}
    assert "takes 40 customers" in trained.rung
