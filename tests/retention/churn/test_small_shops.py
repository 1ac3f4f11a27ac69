"""Tests of shops with little data: a result, or a clear message."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from retention.churn.evaluation.evaluate import Plan, evaluate
from retention.churn.model import train
from retention.errors import TooLittleData
from retention.window import Window
from tests import shops

pytestmark = pytest.mark.nightly

MONTHS = 240  # days


@pytest.fixture(scope="module")
def grocer():
    return shops.groceries(customers=300, days=MONTHS)


def test_sixty_days_suffice_for_two_weeks(grocer, tmp_path):
    young = shops.lake(tmp_path, grocer[grocer.occurred_at < shops.end(60)])
    cutoff = shops.end(60) - timedelta(days=14)
    report, _ = evaluate(young, Plan(cutoff=cutoff, window=Window(14, None)))
    assert "days of history (have 4" in report["rung"]
    assert report["metrics"]["log_loss"] < np.log(2)


def test_shop_without_returns_has_one_class_only(grocer, tmp_path):
    lake = shops.lake(tmp_path, grocer.drop_duplicates("customer_id"))
    says = r"Every customer in the training data churned .* try a longer"
    with pytest.raises(TooLittleData, match=says):
        train(lake, cutoff=shops.end(MONTHS), window=Window(28, None))


@pytest.mark.parametrize(
    ("horizon", "candidates", "members"),
    [(140, "logistic regression", 4), (110, "the ensemble", 3)],
)
def test_equal_weights_without_an_earlier_label_window(tmp_path, horizon, candidates, members):
    """The best fit on one half of a cohort's life says nothing about ageing customers."""
    trained = train(
        shops.lake(tmp_path, shops.discs(customers=600, days=300)),
        cutoff=shops.end(300),
        window=Window(horizon, None),
    )
    assert trained.estimator == "stacked"
    assert [weight for weight, _ in trained.members] == [1 / members] * members
    assert trained.calibration.startswith("none")
    assert "an equal say" in trained.rung
    assert "bg_nbd" in trained.rung.partition("compare: ")[2].partition(" have an")[0].split(", ")
    assert f"The rung of {candidates}" in trained.rung


def test_simulated_bgnbd_shop_is_not_worse_than_bgnbd(tmp_path):
    """Five members with equal weights lost .004 here, mostly by RFM."""
    lake = shops.lake(tmp_path, _by_bgnbd())
    report, _ = evaluate(lake, Plan(cutoff=shops.end(330), window=Window(150, None)))
    assert report["metrics"]["log_loss"] < report["baselines"]["bg_nbd"]["log_loss"] + 0.0005
    assert "rfm_logistic" not in report["rung"]


def _by_bgnbd(customers=1500):
    """Simulate a cohort of four weeks by BG/NBD."""
    rng = np.random.default_rng(3)
    rate, leaves = rng.gamma(0.6, 1 / 40, customers), rng.beta(0.8, 2.5, customers)
    first = rng.uniform(0, 28, customers)
    day = first[:, None] + np.cumsum(rng.exponential(1 / rate[:, None], (customers, 60)), axis=1)
    stays = np.arange(60) < rng.geometric(leaves)[:, None]
    customer, which = np.nonzero(
        np.column_stack([np.ones(customers, dtype=bool), stays & (day < 480)])
    )
    at = np.column_stack([first, day])[customer, which]
    columns = {
        "customer_id": [f"c{number}" for number in customer],
        "event_type": "purchase",
        "order_id": [f"o{number}" for number in range(len(customer))],
        "occurred_at": pd.Timestamp(shops.BEGIN) + pd.to_timedelta(np.floor(at * 86_400), unit="s"),
        "amount": rng.gamma(3, 6, len(customer)).round(2) + 1,
    }
    return pd.DataFrame(columns)
