"""Tests that scaling and imputation are part of the fitted pipeline."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from retention.churn.snapshots import take_snapshot
from retention.lake.schema import TABLES
from retention.lake.storage import delta_store
from retention.window import Window
from tests.retention.churn.models import fitted


@pytest.fixture(scope="module")
def question():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(800, 3)) + 2
    y = (rng.random(800) < np.where(X[:, 0] > 2, 0.8, 0.1)).astype(float)
    X[rng.random(X.shape) < 0.1] = np.nan
    return X, y


def test_features_impute_nothing_and_a_snapshot_stores_nothing(shop):
    tables = [TABLES[name] for name in ("events", "customers", "items")]
    before = [delta_store.version(shop.lake.root, table) for table in tables]
    snapshot = take_snapshot(shop.lake, shop.end, window=Window(28, None), labelled=False)
    once = snapshot.frame.order_days == 1
    # A gap nobody has seen is missing, not imputed
    assert once.any()
    assert snapshot.frame.loc[once, "gap_mean"].isna().all()
    assert [delta_store.version(shop.lake.root, table) for table in tables] == before


@pytest.mark.parametrize("name", ["logistic", "svm"])
def test_scaling_and_imputation_are_steps_of_the_model(name, question):
    X, y = question
    (member,) = fitted(name, X, y, seed=2).members
    steps = dict(member.steps)
    np.testing.assert_allclose(steps["simpleimputer"].statistics_, np.nanmedian(X, axis=0))
    scaler = next(step for step in steps.values() if isinstance(step, StandardScaler))
    assert scaler.n_samples_seen_ == len(X)
