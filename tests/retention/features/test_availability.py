"""Tests of features that a shop's data cannot tell."""

from datetime import timedelta

import pandas as pd
import pytest

from retention.churn.model import train
from retention.churn.snapshots import take_snapshot
from retention.features.availability import NEEDS, has_amounts, unknown_features
from retention.window import Window
from tests import shop as tiny
from tests import shops

DAYS = 120
ALWAYS = {"recency_days", "orders_all", "gap_median", "tenure_days", "weekend_share"}


def _events(**extra) -> pd.DataFrame:
    events = tiny.frames(customers=60, days=DAYS)["events"]
    return events[events.event_type == "purchase"].assign(**extra)


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    ("dropped", "unknown", "known"),
    [
        ("item_id", {"items_4h", "regular_items", "categories_4h", "repeat_share"}, {"spend_2h"}),
        ("amount", {"spend_2h", "basket_mean", "trend_spend", "discount_share"}, {"items_4h"}),
        ("discount", {"discount_share", "discounted_share"}, {"spend_2h"}),
        ("channel", {"online_share", "channels"}, {"items_4h"}),
    ],
)
def test_feature_of_an_unmapped_column_is_unknown(tmp_path, dropped, unknown, known):
    lake = shops.lake(tmp_path, _events().drop(columns=dropped))
    missing = unknown_features(lake, shops.end(400))
    assert unknown <= missing
    assert not (known | ALWAYS) & missing
    assert {"views_1h", "carts_1h", "emails_1h", "returns_4h", "campaigns_4h"} <= missing
    cutoff = tiny.BEGIN + timedelta(days=DAYS)
    people = take_snapshot(lake, cutoff, window=Window(28, None), labelled=False)
    assert people.frame[sorted(unknown)].isna().all(axis=None)
    assert people.frame[sorted(known)].notna().any(axis=None)
    assert has_amounts(lake, shops.end(400)) == (dropped != "amount")


def test_column_that_appears_after_the_cutoff_is_still_unknown(tmp_path):
    """Only data before the cutoff decides."""
    events = _events()
    cutoff = tiny.BEGIN + timedelta(days=60)
    events.loc[events.occurred_at < cutoff, "item_id"] = None
    views = events.assign(event_type="view", order_id=None, amount=None, discount=None)
    later = pd.concat([events, views[views.occurred_at >= cutoff]])
    lake = shops.lake(tmp_path, later)
    assert {"items_4h", "views_1h"} <= unknown_features(lake, cutoff)
    assert not {"items_4h", "views_1h"} & unknown_features(lake, cutoff + timedelta(days=30))


def test_nothing_is_unknown_in_a_shop_that_records_everything(shop, tmp_path):
    """The features that the shop has are those of `build`, value for value."""
    from retention.features import build

    missing = unknown_features(shop.lake, shop.end)
    known = {"items_4h", "spend_2h", "discount_share", "online_share", "redemptions_4h"}
    assert not missing & known
    window = Window(28, None)
    built = build(shop.lake, shop.end, window=window).order_by("customer_id").execute()
    people = take_snapshot(shop.lake, shop.end, window=window, labelled=False).frame
    columns = [name for name in NEEDS if name not in missing]
    pd.testing.assert_frame_equal(built[columns], people[columns], check_dtype=False)


@pytest.mark.nightly
def test_model_does_not_learn_from_unknown_features(tmp_path):
    events = _events().drop(columns=["item_id", "discount", "amount"])
    names = ("", "x", "y")
    many = pd.concat([events.assign(customer_id=events.customer_id + suffix) for suffix in names])
    lake = shops.lake(tmp_path, many)
    cutoff = tiny.BEGIN + timedelta(days=DAYS)
    trained = train(lake, cutoff=cutoff, window=Window(14, None), model="rfm_logistic")
    assert not set(trained.columns) & unknown_features(lake, cutoff)
