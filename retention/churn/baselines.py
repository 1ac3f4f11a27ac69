"""What any churn model must beat: recency alone, RFM with logistic regression, BG/NBD's closed form."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from retention.churn.estimators import RFM_COLUMNS, signed_log
from retention.churn.metrics import metrics
from retention.churn.snapshots import Snapshot, TrainingSet

COLUMNS = {"recency": ("recency_days",), "rfm_logistic": RFM_COLUMNS}


def baselines(training: TrainingSet, test: Snapshot) -> dict[str, dict[str, float]]:
    """Metrics of each baseline on the test snapshot."""
    return {
        name: metrics(test.labels, said) for name, said in probabilities(training, test).items()
    }


def probabilities(training: TrainingSet, test: Snapshot) -> dict[str, np.ndarray]:
    """P(churn), (n,), by each baseline; the learned ones learn from the same snapshots as the model."""
    found = {}
    for name, columns in COLUMNS.items():
        X, y = training.stacked(columns)
        model = make_pipeline(
            FunctionTransformer(signed_log), StandardScaler(), LogisticRegression()
        ).fit(np.nan_to_num(X), y)
        found[name] = model.predict_proba(np.nan_to_num(test.matrix(columns)))[:, 1]
    return {**found, "bg_nbd": test.frame.bg_no_purchase.to_numpy()}
