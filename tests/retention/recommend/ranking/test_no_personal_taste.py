"""Test ranking in a shop without personal taste, where popularity is the best baseline."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from retention.recommend import evaluate
from retention.recommend.ranking import ranker_training
from tests import readonly
from tests import shop as tiny
from tests.retention.recommend.small_shop import bring

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def hits(tmp_path_factory):
    """Build a shop in which all customers draw from the same few hits."""
    shop = tiny.build(tmp_path_factory.mktemp("hits") / "home", customers=8, items=6, days=10)
    rng = np.random.default_rng(5)
    liked = 1 / np.arange(1, 61)
    rows = pd.DataFrame(
        {
            "customer_id": [f"p{number % 150:03d}" for number in range(6_000)],
            "item_id": [
                f"h{number:02d}" for number in rng.choice(60, 6_000, p=liked / liked.sum())
            ],
            "occurred_at": pd.Timestamp(shop.begin)
            + pd.to_timedelta(rng.uniform(0, 150, 6_000).round(3), unit="D"),
        }
    ).assign(event_type="purchase", amount=1.0, quantity=1, currency="EUR", source="shop")
    bring(shop, "events", rows)
    with readonly.shared(shop) as hits:
        yield hits


@pytest.mark.parametrize(
    "min_customers",
    [ranker_training.MIN_CUSTOMERS_FOR_TREES, 1_000],
    ids=["ranker", "logistic only"],
)
def test_lists_are_not_worse_than_popularity_without_personal_taste(
    hits, monkeypatch, min_customers
):
    monkeypatch.setattr(ranker_training, "MIN_CUSTOMERS_FOR_TREES", min_customers)
    evaluation = evaluate(hits.lake, cutoff=hits.begin + timedelta(days=122))
    assert evaluation["parameters"]["ranker_both"] != "mixture"
    for figures in (evaluation, evaluation["new_items"]):
        assert figures["over_best_baseline"]["interval"][1] >= 0
        assert figures["over_best_baseline"]["ndcg"] > -0.01
