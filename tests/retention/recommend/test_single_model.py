"""Every single model trains, evaluates, restores and recommends."""

from datetime import timedelta

import pytest

from retention.errors import BadInput
from retention.progress import silent
from retention.recommend import TrainedRecommender, evaluate, recommend, train
from retention.recommend.side_information import friends, segments
from retention.registry import retrain
from retention.registry.model_cache import recommender
from retention.window import Window
from tests import shop as tiny
from tests.retention.recommend.small_shop import import_relations, preferences
from tests.retention.recommend.test_models import NAMES
from tests.retention.recommend.test_recommend import append_future
from tests.world import model_version

pytestmark = pytest.mark.usefixtures("hasty")


@pytest.mark.nightly_after(9)
@pytest.mark.parametrize("name", NAMES)
def test_every_model_trains_restores_and_recommends(small, name):
    trained = train(small.lake, cutoff=small.end, model=name)
    assert trained.estimator == name
    assert trained.alone
    assert trained.metrics["customers"] > 20
    restored = TrainedRecommender.from_bytes(trained.to_bytes())
    customer_ids = [*sorted(set(preferences(small.lake, small.end)["customer_id"]))[:5], "nobody"]
    result = recommend(restored, small.lake, customer_ids, k=6, as_of=small.end)
    assert result == recommend(trained, small.lake, customer_ids, k=6, as_of=small.end)
    assert all(len({item.item_id for item in items}) == 6 for items in result.values())
    assert {item.source for item in result["nobody"]} <= {"popular", "catalogue"}


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("name", ["ease", "bpr", "repeat", "popular_segment"])
def test_every_model_can_be_evaluated(small, name):
    report = evaluate(small.lake, cutoff=small.end - timedelta(days=28), model=name)
    assert report["model"] == name
    assert report["metrics"]["ndcg"] > report["baselines"]["popular"]["ndcg"] * 0.9


def test_small_shop_falls_back_from_single_model_with_note(tmp_path):
    shop = tiny.build(tmp_path / "home", customers=8, items=12, days=90)
    trained = train(shop.lake, cutoff=shop.end, model="als")
    assert trained.estimator == "own+popular"
    assert "als alone takes more customers and items than there are" in trained.rung


def test_friends_respect_time_and_only_referrals_are_symmetric(small_copy):
    shop = small_copy
    early, late = "2025-02-01T00:00:00Z", (shop.end + timedelta(days=1)).isoformat()
    relations = [
        ("stranger", "c0001", "follow", early),
        ("c0002", "stranger", "refer", early),
        ("stranger", "c0003", "follow", late),
        ("c0004", "stranger", "follow", ""),
        ("stranger", "stranger", "friend", ""),
    ]
    import_relations(shop, relations)
    known = friends(shop.lake, shop.end, ["stranger", "c0002", "c0001"])
    result = set(zip(known["customer_id"], known["other_id"], strict=True))
    assert result == {("stranger", "c0001"), ("stranger", "c0002"), ("c0002", "stranger")}
    trained = train(shop.lake, cutoff=shop.end, model="social")
    liked = preferences(shop.lake, shop.end, ["c0001", "c0002"])
    items = recommend(trained, shop.lake, ["stranger"], k=3, as_of=shop.end)["stranger"]
    assert {item.item_id for item in items} <= set(liked["item_id"])


def test_segments_use_first_basket_and_region_without_leakage(small_copy):
    shop = small_copy
    people = shop.lake.table("customers").execute()
    people["attributes"] = '{"region": "north"}'
    shop.lake.upsert("customers", people)

    def labels_at(at) -> dict[str, set[str]]:
        frame = segments(shop.lake, at, ["c0000", "c0001", "nobody"])
        return frame.groupby("customer_id")["label"].agg(set).to_dict()

    half = labels_at(shop.begin + timedelta(days=60))
    assert "nobody" not in half
    for labels in half.values():
        assert {"channel:web", "region:north"} <= labels
        assert any(label.startswith("first:") for label in labels)
    assert labels_at(shop.end) == half


def retrained(shop, used=None, cutoff=None, model="repeat") -> retrain.RetrainResult:
    window = Window(28, None)
    request = retrain.RetrainRequest(cutoff or shop.end, window, model, "U0ANALYST", None)
    return retrain.recommend(shop.settings, shop.lake, used, request, silent)


def figures(popular: float, buy_it_again: float) -> dict:
    return {"popular": {"ndcg": popular}, "buy_it_again": {"ndcg": buy_it_again}}


RANKED = "own+ease, ranked (all)"


def test_registry_keeps_the_name_of_a_single_model(small_copy):
    first = retrained(small_copy)
    assert (first.row.estimator, first.promote) == ("repeat", True)
    assert recommender(small_copy.settings, first.row).estimator == "repeat"


@pytest.mark.parametrize(
    ("champion", "popular", "name", "ndcg", "promote"),
    [
        (0.4, 0.1, "bpr", 0.3, False),  # another kind, and better in its time
        (0.4, 0.1, "repeat", 0.3, True),
        (0.4, 0.1, RANKED, 0.3, True),
        (0.4, 0.1, "repeat", 0.15, False),  # below a baseline
        (0.28, 0.3, RANKED, 0.29, True),  # both are
        (0.28, 0.3, "bpr", 0.29, False),
        (0.31, 0.3, RANKED, 0.29, False),
    ],
)
def test_champion_is_replaced_by_its_kind_or_a_better_one(
    settings, champion, popular, name, ndcg, promote
):
    baselines = figures(popular, 0.2)
    metrics = {"ndcg": champion, "baselines": baselines}
    used = model_version(settings, estimator="repeat", metrics=metrics)
    verdict = retrain._decide(used, name, name != RANKED, {"ndcg": ndcg}, baselines)
    assert verdict[0] is promote
    assert ("0.400" in verdict[1]) == (name == "bpr" and ndcg > popular)


def test_unmeasured_recommender_is_replaced_at_retrain(tmp_path):
    """Without baselines no challenger could be better, so the first model stayed for ever."""
    shop = tiny.build(tmp_path / "home", customers=12, items=12, days=120)
    used = retrained(shop, None, shop.end - timedelta(days=30), "auto").row
    assert not used.metrics
    result = retrained(shop, used, model="auto")
    assert result.promote
    assert "Too few customers" in result.why
    used.metrics = {"ndcg": 0.4, "baselines": figures(0.1, 0.2)}
    stays = retrained(shop, used, model="auto")
    assert not stays.promote
    assert "the one in use was measured" in stays.why


def test_unreadable_recommender_is_replaced(small_copy, monkeypatch):
    used = retrained(small_copy).row
    used.metrics = {"ndcg": 0.99}
    assert not retrained(small_copy, used, model="trending").promote

    def refused(*_):
        raise BadInput("It was made by an older version; run `retention retrain recommend`.")

    monkeypatch.setattr(retrain, "recommender", refused)
    result = retrained(small_copy, used, model="trending")
    assert (result.promote, result.why) == (True, "The one in use cannot be read any more.")


@pytest.mark.nightly
def test_later_events_change_neither_single_model_nor_lists(small_copy):
    shop = small_copy
    cutoff = shop.end - timedelta(days=30)
    names, customer_ids = ("repeat", "popular_segment", "trending", "social"), ["c0001", "nobody"]
    import_relations(shop, [("c0001", "c0002", "follow", "")])

    def learned() -> list[object]:
        trained = [train(shop.lake, cutoff=cutoff, model=name) for name in names]
        lists = [
            recommend(recommender, shop.lake, customer_ids, k=5, as_of=cutoff)
            for recommender in trained
        ]
        return [*(recommender.to_bytes() for recommender in trained), *lists]

    before = learned()
    append_future(shop, cutoff)
    late = (cutoff + timedelta(hours=1)).isoformat()
    import_relations(shop, [("c0001", "c0003", "follow", late)])
    assert learned() == before
