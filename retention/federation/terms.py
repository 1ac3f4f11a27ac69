"""What the desks of a federation agree on: features, their bounds, and what churn means.

Nothing here is learned from rows, so every desk computes the same columns without telling any.
Money is left out: shops sell in different currencies.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from retention.churn.estimators import MAX_DEVIATION, bounded, signed_log, take_columns
from retention.churn.model_features import meaning
from retention.window import Window

# A value of 0 becomes −1, this one 1; beyond, values are clipped at ± `MAX_DEVIATION`.
SCALES = {
    **{"recency_days": 365, "recency_over_gap": 10, "recency_over_max_gap": 10},
    **{"recency_rank": 1, "silence_rank": 1, "blank_share": 1, "silent_share": 1},
    **{"orders_half": 10, "orders_1h": 20, "orders_2h": 40, "orders_4h": 80, "orders_all": 200},
    **{"order_days": 200, "quarters_2h": 8, "quarters_6h": 24},
    **{"gap_mean": 180, "gap_median": 180, "gap_sd": 180, "gap_max": 365, "gap_last": 180},
    **{"trend_orders": 1, "basket_ratio": 3, "tenure_days": 1000},
}
FEATURES = tuple(SCALES)


def definitions(window: Window) -> dict[str, str]:
    """Return each feature's definition; desks train together only if all are equal.

    Examples
    --------
    >>> definitions(Window(28, 56))["orders_1h"]
    'orders in the last 28 days; 0 to 20; churn: 28 days, active within 56'
    """
    days, active = window.horizon_days, window.active_within_days
    churn = f"churn: {days} days, active within {active or 'ever'}"
    return {name: f"{meaning(name, days)}; 0 to {most}; {churn}" for name, most in SCALES.items()}


def prepared(X: np.ndarray) -> np.ndarray:
    """Return (n, k + 1) columns of the regression, the constant first.

    `X`: (n, k) features in the order of `FEATURES`, missing as NaN.

    Examples
    --------
    >>> float(np.abs(prepared(np.full((1, len(FEATURES)), 1e12))).max())
    4.0
    """
    return np.column_stack([np.ones(len(X)), make_pipeline(*_steps()).transform(X)])


def pipeline(weights: np.ndarray) -> Pipeline:
    """Return the fitted model of the desks' weights, the constant's first.

    Examples
    --------
    >>> model = pipeline(np.zeros(len(FEATURES) + 1))
    >>> float(model.predict_proba(np.zeros((1, len(FEATURES))))[0, 1])
    0.5
    """
    head = LogisticRegression()
    head.classes_, head.n_features_in_ = np.array([0.0, 1.0]), len(FEATURES)
    head.coef_, head.intercept_ = weights[None, 1:], weights[:1]
    head.n_iter_ = np.array([0])
    return make_pipeline(*_steps(), head)


def _steps() -> list[FunctionTransformer | StandardScaler]:
    ends = signed_log(np.array([np.zeros(len(FEATURES)), list(SCALES.values())], dtype=float))
    places = {"places": list(range(len(FEATURES)))}
    return [
        FunctionTransformer(take_columns, kw_args=places),
        FunctionTransformer(signed_log),
        StandardScaler().fit(ends),
        FunctionTransformer(bounded),
    ]


LARGEST = MAX_DEVIATION
