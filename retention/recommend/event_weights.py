"""Learn the weights of carts and views.

Weights are relative to a purchase. The chance that a customer buys an item in the last horizon is
modelled as the base rate plus a sum over earlier events, each decayed by its age. Non-negative
least squares gives the share of each kind of event. Its ratio to a purchase's share is the weight.
Shops with too little data keep the default weights.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import nnls

from retention.recommend.history import CART, PURCHASE, VIEW, WEIGHTS, History, changes

KINDS = (CART, VIEW)
HALF_LIFE = 30  # days; views and carts decay faster than purchases
MIN_PAIRS = 200  # with a kind of event, and bought pairs; below, the default weights stay
MAX_WEIGHT = 2.0  # purchases
MAX_EVENTS = 3.0  # of a kind; the tenth view says little more than the third


def learn_weights(history: History, start: int, end: int) -> dict[str, float]:
    """Learn the weight of each of `KINDS`.

    Weights are relative to a purchase.

    `history`: everything known at ``end``.
    `start`, `end`: days since 1970. Purchases in ``[start, end)`` by customers with a history are
    explained by earlier events.
    Returns: only kinds with enough events; empty if a purchase does not predict another one.
    """
    past = history.before(start)
    if not len(past.day):
        return {}
    begins = changes(past.customer, past.item)
    faded = np.exp2(-(start - past.day) / HALF_LIFE)
    decayed = {
        kind: np.add.reduceat(faded * counts, begins).clip(0, MAX_EVENTS)
        for kind, counts in ((PURCHASE, past.bought), (CART, past.carts), (VIEW, past.views))
    }
    items = len(history.items)
    pair = past.customer[begins].astype(np.int64) * items + past.item[begins]
    customer, item = history.between(start, end)
    is_bought = np.isin(pair, customer.astype(np.int64) * items + item)
    common = [kind for kind in KINDS if (decayed[kind] > 0).sum() >= MIN_PAIRS]
    if not common or is_bought.sum() < MIN_PAIRS or (decayed[PURCHASE] > 0).sum() < MIN_PAIRS:
        return {}
    is_active = np.isin(past.customer[begins], customer)
    events = np.column_stack([decayed[kind][is_active] for kind in (PURCHASE, *common)])
    unseen = len(np.unique(customer)) * items - int(is_active.sum())
    # The chance of buying an item without earlier events.
    base_rate = (len(customer) - int(is_bought.sum())) / max(unseen, 1)
    share = _shares(events, is_bought[is_active] - base_rate)
    if share[0] <= 0:  # no repeat purchases: there is no unit to compare with
        return {}
    return {
        kind: float(min(value / share[0], MAX_WEIGHT))
        for kind, value in zip(common, share[1:], strict=True)
    }


def _shares(events: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """Solve non-negative least squares on a QR triangle.

    This keeps the problem small for millions of pairs.
    """
    triangle: Any = np.linalg.qr(np.column_stack([events, excess]), mode="r")
    shares: np.ndarray = nnls(triangle[:, :-1], triangle[:, -1])[0]
    return shares


def apply_weights(history: History, weights: Mapping[str, float]) -> History:
    """Replace the default weights of carts and views."""
    if not weights:
        return history
    cart, view = (weights.get(kind, WEIGHTS[kind]) - WEIGHTS[kind] for kind in KINDS)
    extra = cart * history.carts + view * history.views
    return replace(history, weight=history.weight + extra)
