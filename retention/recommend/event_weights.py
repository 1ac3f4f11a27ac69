"""What a cart and a view are worth beside a purchase, learned from what was bought after them; our judgement until there is enough.

The chance that a customer buys an item in the last horizon is taken as a sum over what they had done with it before, each event faded
by its age, above the chance of an item they had nothing to do with: non-negative least squares gives each kind's share, and its ratio to a purchase's is its weight.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from retention.recommend.history import CART, PURCHASE, VIEW, WEIGHTS, History, changes

KINDS = (CART, VIEW)
HALF_LIFE = 30  # days; looks and carts fade faster than purchases
FEWEST = 200  # pairs of customer and item that show a kind, and pairs bought, below which our judgement stays
MOST = 2.0  # purchases
CAP = 3.0  # events of a kind; the tenth look says little more than the third


def learn_worth(history: History, start: int, end: int) -> dict[str, float]:
    """The weight of each of `KINDS` beside a purchase's 1.

    Parameters
    ----------
    history : History
        Everything known at ``end``.
    start, end : int
        Days since 1970: what was bought in ``[start, end)`` by customers with a history is explained by what lies before.

    Returns
    -------
    dict of str to float
        Of the kinds that occur often enough; empty where none does.
    """
    past = history.before(start)
    if not len(past.day):
        return {}
    begins = changes(past.customer, past.item)
    faded = np.exp2(-(start - past.day) / HALF_LIFE)
    shown = {
        kind: np.add.reduceat(faded * counts, begins).clip(0, CAP)
        for kind, counts in ((PURCHASE, past.bought), (CART, past.carts), (VIEW, past.views))
    }
    pair = past.customer[begins].astype(np.int64) * max(len(history.items), 1) + past.item[begins]
    who, what = history.between(start, end)
    bought = np.isin(pair, who.astype(np.int64) * max(len(history.items), 1) + what)
    common = [kind for kind in KINDS if (shown[kind] > 0).sum() >= FEWEST]
    if not common or bought.sum() < FEWEST or (shown[PURCHASE] > 0).sum() < FEWEST:
        return {}
    active = np.isin(past.customer[begins], who)
    told = np.column_stack([shown[kind][active] for kind in (PURCHASE, *common)])
    unseen = len(np.unique(who)) * len(history.items) - int(active.sum())
    by_chance = (len(who) - int(bought.sum())) / max(
        unseen, 1
    )  # of what one had nothing to do with before
    share = _shares(told, bought[active] - by_chance)
    if (
        share[0] <= 0
    ):  # nobody buys again: a purchase says nothing here, and nothing can be measured by it
        return {}
    return {
        kind: float(min(one / share[0], MOST)) for kind, one in zip(common, share[1:], strict=True)
    }


def _shares(told: np.ndarray, gained: np.ndarray) -> np.ndarray:
    """Non-negative least squares, on the triangle of a QR, so that millions of pairs are a small problem."""
    from scipy.optimize import nnls

    root: Any = np.linalg.qr(np.column_stack([told, gained]), mode="r")
    found: np.ndarray = nnls(root[:, :-1], root[:, -1])[0]
    return found


def weighted(history: History, worth: Mapping[str, float]) -> History:
    """The history with carts and views at these weights instead of our judgement's."""
    if not worth:
        return history
    further = (worth.get(CART, WEIGHTS[CART]) - WEIGHTS[CART]) * history.carts
    further = further + (worth.get(VIEW, WEIGHTS[VIEW]) - WEIGHTS[VIEW]) * history.views
    return replace(history, weight=history.weight + further)
