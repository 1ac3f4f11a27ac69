"""Where nobody has a taste, nothing is better than what is popular: the ranker must find that out."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from retention.lake.importing import import_files
from retention.recommend import evaluate
from retention.recommend.ranking import recipe
from tests import readonly
from tests import shop as tiny


@pytest.fixture(scope="module")
def hits(tmp_path_factory):
    """Everybody draws from the same few hits: one's own purchases say nothing, and popularity is the best baseline."""
    folder = tmp_path_factory.mktemp("hits")
    shop = tiny.build(folder / "home", customers=8, items=6, days=10)
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
    rows.to_parquet(folder / "hits.parquet")
    import_files(shop.lake, shop.database, shop.settings, "events", [str(folder / "hits.parquet")])
    with readonly.shared(shop) as hits:
        yield hits


@pytest.mark.parametrize("fewest", [recipe.FEWEST_TO_RANK, 1_000], ids=["ranker", "few signals"])
def test_where_nobody_has_a_taste_the_lists_are_not_below_what_is_popular(
    hits, monkeypatch, fewest
):
    monkeypatch.setattr(recipe, "FEWEST_TO_RANK", fewest)
    found = evaluate(hits.lake, cutoff=hits.begin + timedelta(days=122))
    assert found["parameters"]["ranker_both"] != "mixture"
    for figures in (found, found["new_items"]):
        assert figures["over_best_baseline"]["interval"][1] >= 0
        assert figures["over_best_baseline"]["ndcg"] > -0.01
