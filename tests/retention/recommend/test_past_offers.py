"""Coupon rankings use earlier redemptions only and are never empty."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from retention.errors import BadInput, TooLittleData
from retention.recommend.history import bought_between
from retention.recommend.past_offers import (
    DEFAULT_RANKER,
    OFFERS,
    REDEMPTIONS,
    evaluate_offers,
    fit_offer_ranker,
    rank_offers,
)
from tests.terminal_text import terminal_text


@pytest.fixture(scope="module")
def coupons(shop) -> dict[str, list[str]]:
    """Return one coupon per category and one for an unknown item."""
    items = shop.lake.table("items").execute()
    return {kind: list(each) for kind, each in items.groupby("category")["item_id"]} | {
        "else": ["unheard of"]
    }


@pytest.fixture(scope="module")
def campaigns(shop, coupons) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Build three campaigns; buyers of a category redeem its coupon on day six."""
    offers, redemptions = [], []
    kind = {item: name for name, items in coupons.items() for item in items}
    for number, day in enumerate((100, 140, 170)):
        at, name = shop.begin + timedelta(days=day), f"k{number}"
        offers += [(name, at, coupon, item) for item, coupon in kind.items()]
        bought = bought_between(shop.lake, at, at + timedelta(days=28))
        pairs = {(customer, kind[item]) for customer, item in bought.itertuples(index=False)}
        redemptions += [(name, *pair, at + timedelta(days=5)) for pair in sorted(pairs)]
    return (
        pd.DataFrame(offers, columns=list(OFFERS)),
        pd.DataFrame(redemptions, columns=list(REDEMPTIONS)),
    )


def test_offers_follow_spend_and_unknown_customers_get_bestsellers(shop, coupons):
    result = rank_offers(shop.lake, coupons, ["c0000", "nobody"], as_of=shop.end)
    assert list(result) == ["c0000", "nobody"]
    for ranked in result.values():
        assert sorted(name for name, _ in ranked) == sorted(coupons)
        assert ranked[-1][0] == "else"
    spent = shop.lake.table("events", before=shop.end).execute().query("customer_id == 'c0000'")
    kind = {item: name for name, items in coupons.items() for item in items}
    assert result["c0000"][0][0] == spent.groupby(spent.item_id.map(kind))["amount"].sum().idxmax()


def test_evaluation_beats_popularity_and_learns_once_there_are_redemptions(shop, campaigns):
    result = evaluate_offers(shop.lake, *campaigns, k=3)
    assert (result["campaigns"], result["learned"]) == (3, 2)
    assert result["metrics"]["ndcg"] > result["baselines"]["popular"]["ndcg"]
    low, high = result["intervals"]["ndcg"]
    assert low < result["metrics"]["ndcg"] < high
    assert "best baseline" in terminal_text("bot/evaluate_offers", result, shop.settings)
    later = evaluate_offers(shop.lake, *campaigns, k=3, since=shop.begin + timedelta(days=150))
    assert (later["campaigns"], later["learned"]) == (1, 1)


def test_later_redemptions_do_not_change_earlier_rankings(shop, campaigns):
    offers, redemptions = campaigns
    first_two = offers[offers.campaign_id != "k2"]
    first, second = (redemptions[redemptions.campaign_id == name] for name in ("k0", "k1"))
    # Redeemed after the second began.
    shuffled = np.random.default_rng(1).permutation(first.offer_id)
    late = first.assign(offer_id=shuffled, redeemed_at=shop.begin + timedelta(days=141))

    def evaluated(*redeemed, since=130):
        since = shop.begin + timedelta(days=since)
        return evaluate_offers(shop.lake, first_two, pd.concat(redeemed), since=since)

    alone = evaluated(first, second)
    assert evaluated(first, late, second)["metrics"] == alone["metrics"]
    assert evaluated(first, second, since=0)["customers"] > alone["customers"]


def test_too_few_redemptions_keep_default_weights():
    signals = [np.ones((5, 3, 5))]
    assert fit_offer_ranker(signals, [np.eye(5, 3, dtype=bool)]) is DEFAULT_RANKER


def test_errors_name_the_fix(shop, campaigns):
    offers, redemptions = campaigns
    with pytest.raises(BadInput, match="lack the column 'item_id'"):
        evaluate_offers(shop.lake, offers.drop(columns="item_id"), redemptions)
    with pytest.raises(TooLittleData, match="earlier purchases"):
        evaluate_offers(shop.lake, offers, redemptions.assign(customer_id="nobody"))
    with pytest.raises(BadInput, match="no offers"):
        rank_offers(shop.lake, {}, ["c0000"], as_of=shop.end)
