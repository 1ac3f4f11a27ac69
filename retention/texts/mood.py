"""Learn from the shop's own stars, or from what customers did next, how a text sounds.

There is no list of good and bad words. A text's mood is predicted by a model of texts that were
known before its month began. So no mood knows anything of its own future, and features at any
cutoff may use it.
"""

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

if TYPE_CHECKING:
    from retention.lake import Lake

MIN_OF_EACH = 25  # good and bad texts; with fewer, a mood is a guess
MAX_TEXTS = 5_000  # the newest that a model learns from
OUTCOME = timedelta(days=60)  # without stars: did the customer order within this time?
STRENGTH = 0.003  # of the regression (C): few texts, many numbers


def of_stars(stars: np.ndarray) -> np.ndarray:
    """Return the mood that stars say: 0 for one star, 1 for five."""
    return (stars - 1) / 4


def walk_forward(
    vectors: np.ndarray, known_at: np.ndarray, labels: np.ndarray, labelled_at: np.ndarray
) -> np.ndarray:
    """Predict the mood of each text from those labelled before its month.

    `vectors`: (n, 384), NaN without one. `known_at`, `labelled_at`: (n,) datetime64.
    `labels`: (n,) 1 good, 0 bad, NaN neither.
    Returns: (n,) from 0 to 1; NaN where too few texts were labelled before.
    """
    moods = np.full(len(vectors), np.nan)
    months = known_at.astype("datetime64[M]")
    has_vector = ~np.isnan(vectors).any(axis=1)
    for month in np.unique(months):
        known = np.flatnonzero(
            has_vector & ~np.isnan(labels) & (labelled_at < month.astype("datetime64[us]"))
        )
        known = known[np.argsort(labelled_at[known], kind="stable")][-MAX_TEXTS:]
        good = int(labels[known].sum())
        rows = has_vector & (months == month)
        if min(good, len(known) - good) >= MIN_OF_EACH and rows.any():
            moods[rows] = fit(vectors[known], labels[known]).predict_proba(vectors[rows])[:, 1]
    return moods


def fit(vectors: np.ndarray, labels: np.ndarray) -> LogisticRegression:
    """Fit the probability that a text is good."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=500))
    return model.fit(vectors, labels)


def labels_of(lake: "Lake", texts: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return which texts are good, and since when that is known.

    Stars say it where enough texts have them; else, whether the customer ordered afterwards.

    `texts`: (n,) rows with text_id, known_at and stars.
    """
    stars, known_at = texts.stars.to_numpy(dtype=float), texts.known_at.to_numpy()
    labels = np.where(stars >= 4, 1.0, np.where(stars <= 2, 0.0, np.nan))
    counts = [int((labels == value).sum()) for value in (0, 1)]
    if min(counts) >= MIN_OF_EACH:
        return labels, known_at
    return _ordered_after(lake, texts), known_at + np.timedelta64(OUTCOME)


def _ordered_after(lake: "Lake", texts: pd.DataFrame) -> np.ndarray:
    """Return whether an order within `OUTCOME` was known by then, (n,) 1 or 0."""
    written, events = lake.table("texts"), lake.table("events")
    orders = events.filter(events.event_type == "purchase").select(
        "customer_id", at="occurred_at", known="available_at"
    )
    pairs = written.select("text_id", "customer_id", written_at="occurred_at").join(
        orders, "customer_id"
    )
    known = pairs.known.fill_null(pairs["at"])
    is_next = (pairs["at"] > pairs.written_at) & (known < pairs.written_at + OUTCOME)
    ids = pairs.filter(is_next).select("text_id").distinct().execute().text_id
    return texts.text_id.isin(set(ids)).to_numpy(dtype=float)
