"""Test that the churn model uses texts where they help, and only there."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from retention.churn.snapshots import Snapshot
from retention.churn.text_gate import TEXT_FEATURES, without_useless_texts
from retention.churn.training_set import TrainingSet
from tests import shop as tiny
from tests.retention.texts.complaints import losses


def training_set(weight, customers=400):
    """Three snapshots in which complaints raise the log-odds of churn by ``weight``."""
    rng, snapshots = np.random.default_rng(1), []
    for number in range(3):
        recency, complaints = rng.uniform(0, 40, customers), rng.poisson(0.4, customers)
        odds = recency / 20 - 1 + weight * complaints
        frame = pd.DataFrame({"recency_days": recency, "complaints_30d": complaints * 1.0})
        frame["customer_id"] = [f"c{place}" for place in range(customers)]
        churned = (rng.random(customers) < 1 / (1 + np.exp(-odds))).astype(float)
        cutoff = tiny.BEGIN + timedelta(days=100 - 21 * number)
        snapshots.append(Snapshot(cutoff, frame, churned, customers, None, None, None))
    end = tiny.BEGIN + timedelta(days=121)
    return TrainingSet(end, 21, None, 121.0, tuple(snapshots), ("recency_days", "complaints_30d"))


@pytest.mark.parametrize(("weight", "columns"), [(2.0, 2), (0.0, 1)])
def test_gate_keeps_texts_only_if_they_predict_churn(weight, columns):
    kept = without_useless_texts(training_set(weight)).columns
    assert kept == ("recency_days", "complaints_30d")[:columns]


@pytest.mark.nightly
def test_texts_that_say_nothing_leave_the_model_as_it_is(shop_copy):
    without, with_texts, trained = losses(shop_copy, effect=0.0)
    assert not TEXT_FEATURES & {*trained.columns}
    np.testing.assert_array_equal(with_texts, without)


@pytest.mark.nightly
def test_complaints_before_churn_lower_the_log_loss(tmp_path):
    shop = tiny.build(tmp_path, customers=600)
    without, with_texts, trained = losses(shop, effect=0.8)
    assert TEXT_FEATURES & {*trained.columns}
    gain = without - with_texts
    assert gain.mean() > 2 * gain.std(ddof=1) / np.sqrt(len(gain))
