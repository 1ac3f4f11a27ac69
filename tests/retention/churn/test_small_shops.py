"""Shops with next to nothing in them: a figure where one can be had, else one sentence that says what is missing."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from retention.churn import evaluate, train
from retention.errors import BadInput, TooLittleData
from tests import shops

MONTHS = 240  # days


@pytest.fixture(scope="module")
def grocer():
    return shops.groceries(customers=300, days=MONTHS)


def _few(grocer, customers):
    return grocer[grocer.customer_id.isin(sorted(grocer.customer_id.unique())[:customers])]


def test_sixty_days_are_enough_for_a_fortnight(grocer, tmp_path):
    young = shops.lake(tmp_path, grocer[grocer.occurred_at < shops.end(60)])
    cutoff = shops.end(60) - timedelta(days=14)
    found = evaluate(young, cutoff=cutoff, horizon_days=14, active_within_days=None)
    assert "days of history (have 4" in found["rung"]
    assert found["metrics"]["log_loss"] < np.log(2)
    with pytest.raises(BadInput, match="horizon of 90 days needs 180 days of history"):
        train(young, cutoff=cutoff, horizon_days=90, active_within_days=None)


def test_who_has_ten_days_is_not_sent_to_a_horizon_of_five(grocer, tmp_path):
    young = shops.lake(tmp_path, grocer[grocer.occurred_at < shops.end(60)])
    with pytest.raises(BadInput, match=r"and there are 9; import a longer history\.$"):
        train(young, cutoff=shops.end(10), horizon_days=28, active_within_days=None)


def test_twenty_customers_are_too_few(grocer, tmp_path):
    with pytest.raises(TooLittleData, match=r"Only 1\d customers .* a model needs 100\. Import"):
        train(shops.lake(tmp_path, _few(grocer, 20)), cutoff=shops.end(MONTHS), horizon_days=28)


def test_where_nobody_ever_comes_back_there_is_nothing_to_tell_apart(grocer, tmp_path):
    once = shops.lake(tmp_path, grocer.drop_duplicates("customer_id"))
    with pytest.raises(
        TooLittleData, match=r"Every customer in the training data churned .* try a longer"
    ):
        train(once, cutoff=shops.end(MONTHS), horizon_days=28, active_within_days=None)


def test_one_item_and_hardly_a_column(grocer, tmp_path):
    bare = grocer[["customer_id", "event_type", "occurred_at"]].drop_duplicates()
    made = train(
        shops.lake(tmp_path, bare), cutoff=shops.end(MONTHS), horizon_days=28, model="rfm_logistic"
    )
    assert 0 < made.parameters["train_churn_rate"] < 1


@pytest.mark.parametrize(
    ("horizon", "rung", "kept"), [(140, "logistic regression", 4), (110, "the ensemble", 3)]
)
def test_where_no_window_was_over_in_time_all_who_are_not_worse_have_an_equal_say(
    tmp_path, horizon, rung, kept
):
    """One cohort, one half of its life to learn from: who fits that half best says nothing of how customers age."""
    made = train(
        shops.lake(tmp_path, shops.discs(customers=600, days=300)),
        cutoff=shops.end(300),
        horizon_days=horizon,
        active_within_days=None,
    )
    assert made.estimator == "stacked"
    assert [weight for weight, _ in made.members] == [1 / kept] * kept
    assert made.calibration.startswith("none")
    assert "an equal say" in made.rung
    assert "bg_nbd" in made.rung.partition("compare: ")[2].partition(" have an")[0].split(", ")
    assert f"The rung of {rung}" in made.rung


def test_a_shop_that_is_bgnbd_itself_is_left_to_bgnbd(tmp_path):
    """Five models with an equal say lost .004 there, most of it to RFM, which knows nothing of how customers age."""
    whole = shops.lake(tmp_path, _by_bgnbd())
    found = evaluate(whole, cutoff=shops.end(330), horizon_days=150, active_within_days=None)
    assert found["metrics"]["log_loss"] < found["baselines"]["bg_nbd"]["log_loss"] + 0.0005
    assert "rfm_logistic" not in found["rung"]


def _by_bgnbd(customers=1500):
    """One cohort of four weeks: exponential gaps, and a chance to leave after each order from the second on."""
    rng = np.random.default_rng(3)
    rate, leaves = rng.gamma(0.6, 1 / 40, customers), rng.beta(0.8, 2.5, customers)
    first = rng.uniform(0, 28, customers)
    day = first[:, None] + np.cumsum(rng.exponential(1 / rate[:, None], (customers, 60)), axis=1)
    stays = np.arange(60) < rng.geometric(leaves)[:, None]
    who, which = np.nonzero(np.column_stack([np.ones(customers, dtype=bool), stays & (day < 480)]))
    at = np.column_stack([first, day])[who, which]
    return pd.DataFrame(
        {
            "customer_id": [f"c{number}" for number in who],
            "event_type": "purchase",
            "order_id": [f"o{number}" for number in range(len(who))],
            "occurred_at": pd.Timestamp(shops.BEGIN)
            + pd.to_timedelta(np.floor(at * 86_400), unit="s"),
            "amount": rng.gamma(3, 6, len(who)).round(2) + 1,
        }
    )
