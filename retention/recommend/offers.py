"""Which of several coupons a customer would redeem: by what they spend on the products each coupon covers.

A coupon of a shop covers many products. What one spends on them lately says most; that one buys other products of the
same types and categories says a little more. The weights are learned from earlier redemptions where there are enough.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix, diags

from retention.errors import BadInput
from retention.recommend.catalogue import Catalogue, catalogue
from retention.recommend.history import History, read
from retention.recommend.id_index import positions
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake import Lake

SIGNALS = ("spent", "type_share", "type_any", "category_share", "category_any")
HALF_LIFE = 90  # days
FEWEST = 60  # customers with redemptions from which the weights are learned
PURCHASES = tuple(
    f"own_{half_life}" for half_life in (30, 90, 240)
)  # baselines: own faded purchases


@dataclass(frozen=True, slots=True)
class OfferRanker:
    """Weights of `SIGNALS`; by default only what was spent on the covered products counts.

    Parameters
    ----------
    weights : ndarray (signals,)
    learned_from : int
        Customers with redemptions; 0 where nothing was learned.
    """

    weights: np.ndarray
    learned_from: int = 0

    def scores(self, signals: np.ndarray) -> np.ndarray:
        """(customers × offers) of signals (customers × offers × `SIGNALS`)."""
        found: np.ndarray = signals @ self.weights
        return found


PLAIN = OfferRanker(np.array([1.0, 0.0, 0.0, 0.0, 0.0]))


def rank_offers(
    lake: "Lake",
    offers: Mapping[str, Sequence[str]],
    customer_ids: Sequence[str],
    *,
    as_of: datetime,
    ranker: OfferRanker = PLAIN,
) -> dict[str, list[tuple[str, float]]]:
    """Offers by customer, the likeliest to be redeemed first.

    Parameters
    ----------
    lake : Lake
    offers : mapping of str to sequence of str
        Offer id → ids of the items it covers; unknown items are ordinary.
    customer_ids : sequence of str
        Customers without a history get the offers in the order of what is bought most.
    as_of : datetime
        Nothing at or after it is seen.

    Raises
    ------
    BadInput
        Without offers.
    """
    if not offers:
        raise BadInput(gettext("There are no offers to rank; name at least one."))
    history = read(lake, as_of)
    shelf = covered(offers, history, catalogue(lake, in_stock_only=False))
    rows = positions(history.customers, list(customer_ids))
    told = signals(history, shelf, history.at(as_of), rows)
    scores = ranker.scores(told) + 1e-6 * _liked(history, shelf)
    order = np.argsort(-scores, axis=1, kind="stable")
    return {
        customer: [(shelf.offers[at], float(scores[row, at])) for at in order[row]]
        for row, customer in enumerate(customer_ids)
    }


@dataclass(frozen=True, slots=True)
class Covered:
    """What each offer covers.

    Parameters
    ----------
    offers : tuple of str
    items : csr_matrix (items of a history × offers)
    groups : mapping
        For ``type`` and ``category``: the group of each item of the history, and (groups × offers) with the share of
        the offer's items that are of the group.
    """

    offers: tuple[str, ...]
    items: csr_matrix
    groups: Mapping[str, tuple[np.ndarray, csr_matrix]]


def covered(offers: Mapping[str, Sequence[str]], history: History, items: Catalogue) -> Covered:
    """Offers in front of a history's items; also items that nobody has bought count for the groups."""
    names = tuple(offers)
    wanted = np.array([item for each in offers.values() for item in each], dtype=object)
    of = np.repeat(np.arange(len(names)), [len(each) for each in offers.values()])
    every = np.array(sorted({*history.items, *wanted}), dtype=object)
    column, place = positions(every, wanted), positions(every, history.items)
    shape = (len(every), len(names))
    holds = csr_matrix((np.ones(len(of)), (column, of)), shape=shape)
    holds.data[:] = 1  # named twice is covered once
    shares = csr_matrix(holds @ diags(1 / np.maximum(np.asarray(holds.sum(axis=0)).ravel(), 1)))
    groups = {}
    for group in ("type", "category"):
        code = items.groups(every)[group]
        known = np.flatnonzero(code >= 0)
        belongs = csr_matrix(
            (np.ones(len(known)), (code[known], known)),
            shape=(int(code.max(initial=0)) + 1, len(every)),
        )
        groups[group] = code[place], csr_matrix(belongs @ shares)
    return Covered(names, csr_matrix(holds[place]), groups)


def signals(history: History, shelf: Covered, at: float, rows: np.ndarray) -> np.ndarray:
    """(rows × offers × `SIGNALS`): logarithms of what was spent and bought, each less its mean over the offers.

    Parameters
    ----------
    history : History
        Nothing at or after ``at`` (days since 1970).
    rows : ndarray of int
        Customers of the history; −1 for one without.
    """
    faded = np.exp2(-(at - history.day) / HALF_LIFE)
    made = [_by_item(history, faded * history.paid.clip(min=0), rows) @ shelf.items]
    bought = history.bought * faded
    for code, shares in shelf.groups.values():
        mine = _by(
            history.customer,
            code[history.item],
            bought,
            (len(history.customers), shares.shape[0]),
            rows,
        )
        touched = csr_matrix(
            (np.ones(shares.nnz), shares.indices, shares.indptr), shape=shares.shape
        )
        made += [mine @ shares, mine @ touched]
    told = np.log1p(np.stack([one.toarray() for one in made], axis=-1))
    centred: np.ndarray = told - told.mean(axis=1, keepdims=True)
    return centred


def own_purchases(
    history: History, shelf: Covered, at: float, rows: np.ndarray, half_life: int
) -> np.ndarray:
    """Baseline (rows × offers): one's own faded purchases of the covered items."""
    faded = np.exp2(-(at - history.day) / half_life) * history.bought
    found: np.ndarray = (_by_item(history, faded, rows) @ shelf.items).toarray()
    return found


def liked_lately(history: History, shelf: Covered, at: float, days: int = 28) -> np.ndarray:
    """Baseline (offers,): purchases of the covered items by anybody in the last days."""
    lately = (at - history.day <= days) * history.bought
    return np.asarray(
        np.bincount(history.item, weights=lately, minlength=len(history.items)) @ shelf.items
    )


def _liked(history: History, shelf: Covered) -> np.ndarray:
    """How often the covered items were bought at all, at most 1; settles what nothing else does."""
    counts = (
        np.bincount(history.item, weights=history.bought, minlength=len(history.items))
        @ shelf.items
    )
    return np.asarray(counts / max(float(counts.max(initial=0)), 1.0))


def _by_item(history: History, values: np.ndarray, rows: np.ndarray) -> csr_matrix:
    return _by(
        history.customer, history.item, values, (len(history.customers), len(history.items)), rows
    )


def _by(
    customer: np.ndarray,
    column: np.ndarray,
    values: np.ndarray,
    shape: tuple[int, int],
    rows: np.ndarray,
) -> csr_matrix:
    """Sums by customer and column for some customers; nothing for −1."""
    known = column >= 0
    every = csr_matrix(
        (values[known], (customer[known], column[known])), shape=(shape[0] + 1, shape[1])
    )
    return csr_matrix(every[np.where(rows >= 0, rows, shape[0])])


def learn(told: Sequence[np.ndarray], redeemed: Sequence[np.ndarray]) -> OfferRanker:
    """Weights of a logistic regression on earlier campaigns; `PLAIN` below `FEWEST` customers who redeemed.

    Parameters
    ----------
    told : sequence of ndarray (customers × offers × signals)
        One a campaign, as of its start.
    redeemed : sequence of ndarray of bool (customers × offers)
        What was redeemed, as far as it was known at the moment of learning.
    """
    from sklearn.linear_model import LogisticRegression

    rows, hits, weights, customers = [], [], [], 0
    for seen, taken in zip(told, redeemed, strict=True):
        some = taken.any(axis=1) & (taken.shape[1] > 1)
        rows.append(seen[some].reshape(-1, len(SIGNALS)))
        hits.append(taken[some].ravel())
        weights.append(np.repeat(1 / np.sqrt(taken[some].sum(axis=1)), taken.shape[1]))
        customers += int(some.sum())
    if customers < FEWEST:
        return PLAIN
    every, hit = np.concatenate(rows), np.concatenate(hits)
    scale = every.std(axis=0) + 1e-9
    fitted = LogisticRegression(max_iter=500).fit(
        every / scale, hit, sample_weight=np.concatenate(weights)
    )
    return OfferRanker(fitted.coef_[0] / scale, customers)
