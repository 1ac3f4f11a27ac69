"""A made-up shop in which complaints come before customers leave, or say nothing."""

from datetime import timedelta

import numpy as np
import pandas as pd

from retention.churn.evaluation.uncertainty import log_losses
from retention.churn.model import fit
from retention.churn.snapshots import take_snapshot
from retention.churn.training_set import build_training_set
from retention.texts import signals
from retention.window import Window
from tests import shop as tiny

HORIZON, CUTOFF = 21, 170  # days; of the shop's 200


def texts_of(shop, *, effect, seed=5):
    """Return reviews with stars, one for each third order.

    `effect`: share of last orders before a silence that a bad review follows; other reviews are
    bad in one of five cases.
    """
    rng = np.random.default_rng(seed)
    events = shop.lake.table("events").filter(lambda row: row.event_type == "purchase").execute()
    orders = events.groupby(["customer_id", "order_id"]).occurred_at.min().reset_index()
    orders = orders.sort_values(["customer_id", "occurred_at"]).reset_index(drop=True)
    following = orders.groupby("customer_id").occurred_at.shift(-1)
    end = pd.Timestamp(shop.end).tz_localize(None)
    silent = (following.fillna(end) - orders.occurred_at) > pd.Timedelta(days=HORIZON)
    is_bad = rng.random(len(orders)) < np.where(silent, max(effect, 0.2), 0.2)
    is_written = (rng.random(len(orders)) < 1 / 3) | (silent & (rng.random(len(orders)) < effect))
    stars = np.where(is_bad, rng.integers(1, 3, len(orders)), rng.integers(4, 6, len(orders)))
    hours = pd.to_timedelta(rng.integers(1, 24, len(orders)), unit="h")
    rows = pd.DataFrame(
        {
            "text_id": [f"t{place}" for place in range(len(orders))],
            "customer_id": orders.customer_id,
            "occurred_at": (orders.occurred_at + hours).dt.tz_localize("UTC"),
            "kind": "review",
            "text": np.where(is_bad, "not good", "good"),
            "stars": stars.astype(float),
        }
    )
    return rows[is_written & (rows.occurred_at < shop.end)]


def losses(shop, *, effect, model="logistic", seed=5):
    """Return the log-losses of the test window without and with texts, and the model with them."""
    cutoff, window = shop.begin + timedelta(days=CUTOFF), Window(HORIZON, 63)

    def measured():
        training = build_training_set(shop.lake, cutoff=cutoff, window=window)
        trained = fit(training, model=model)
        snapshot = take_snapshot(shop.lake, cutoff, window)
        return trained, log_losses(snapshot.labels, trained.predict(snapshot))

    _, without = measured()
    tiny.add(shop, texts_of(shop, effect=effect, seed=seed), "texts")
    signals.update(shop.lake)
    trained, with_texts = measured()
    return without, with_texts, trained
