"""What each of several past offers did, and for whom: told apart only where customers alike were given either.

Whether somebody gets an offer at all is drawn, which offer it is mostly follows a policy. So an offer's customers are
weighed by the chance that customers like them had of it (the generalised propensity), and nothing is said of customers
like whom hardly anybody got it.

References
----------
Imbens 2000 (generalised propensity); Crump, Hotz, Imbens & Mitnik 2009 (common support); Cochran 1954 (Q).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from threadpoolctl import threadpool_limits

from retention.errors import TooLittleData
from retention.uplift.evaluate import calibration, out_of_fold
from retention.uplift.learners import LEARNERS, UpliftLearner, encoder, robust_effects
from retention.uplift.table import Experiment

LEAST_TREATED = 100  # customers of one offer
SUPPORT = 0.05  # chance of an offer, among those who get any, below which nothing is said of it
DIFFERENT = 0.05  # p of Cochran's Q above which offers are not told apart


def kind(offer: Mapping[str, Any]) -> str:
    """What an offer is, whatever its rule is called: two that read alike are the same. Empty for none."""
    action = offer.get("action") or ""
    # free shipping's amount is what a parcel costs just now
    amount = offer.get("amount") if action == "coupon" else 0.0
    terms = (offer.get("discount"), amount, offer.get("min_order"))
    bound = (
        ["category"] if offer.get("category") or offer.get("categories") else []
    )  # whichever it is
    return ":".join([action, *(f"{term or 0.0:g}" for term in terms), *bound]) if action else ""


@dataclass(frozen=True, slots=True)
class Told:
    """One offer's learner; its predictions are drawn towards their ``mean`` by ``slope`` and set to ``level``."""

    learner: UpliftLearner
    mean: float
    slope: float
    level: float

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """Uplift of (n,) customers."""
        return self.level + self.slope * (self.learner.predict(features) - self.mean)


@dataclass(frozen=True, slots=True)
class Offers:
    """``given``: which offer customers like this one get; ``told``: kind → what it does."""

    given: Pipeline
    told: Mapping[str, Told]

    def predict(self, features: pd.DataFrame) -> dict[str, np.ndarray]:
        """Kind → uplift, (n,); NaN for customers like whom hardly anybody got it."""
        chance = dict(zip(self.given.classes_, self.given.predict_proba(features).T, strict=True))
        return {
            name: np.where(chance[name] >= SUPPORT, told.predict(features), np.nan)
            for name, told in self.told.items()
        }


@threadpool_limits.wrap(limits=1)  # as in `cross_validated`: the fits are small
def tell_apart(trial: Experiment, kinds: np.ndarray, learner: str) -> Offers | None:
    """Learn each offer's own uplift; None where fewer than two had enough customers, or they did not differ.

    Parameters
    ----------
    trial : Experiment
    kinds : ndarray of str of shape (n,)
        What each treated customer got; empty where that is not known, and for who was held out.
    learner : str
        The one of `LEARNERS` that was chosen on all of them together.

    Notes
    -----
    Of offer k, P(k | x) = e c_k(x) with e the share of treated; against the held-out alone its propensity is
    e c_k / (e c_k + 1 − e). Levels are means of doubly robust effects where every offer has support, weighted to the
    same customers; whether they differ is asked by Cochran's Q, and what is left of their differences is 1 − (K − 1) / Q
    (James & Stein). The offers share their hold-out, which makes Q smaller than it could be: an error to the safe side.
    """
    names, counts = np.unique(kinds[(trial.treated == 1) & (kinds != "")], return_counts=True)
    names = names[counts >= LEAST_TREATED]
    if len(names) < 2:
        return None
    known = np.asarray(np.isin(kinds, names))
    given = make_pipeline(encoder(), _allotment(int(known.sum())))
    chance = np.empty((len(kinds), len(names)))
    chance[known] = cross_val_predict(
        given, trial.features[known], kinds[known], method="predict_proba"
    )
    chance[~known] = given.fit(trial.features[known], kinds[known]).predict_proba(
        trial.features[~known]
    )
    shared = np.all(chance >= SUPPORT, axis=1)
    found = {}
    for place, name in enumerate(names):
        rows = ((kinds == name) | (trial.treated == 0)) & (chance[:, place] >= SUPPORT)
        if (rows & (kinds == name)).sum() >= LEAST_TREATED:
            part = chance[rows, place] * known.sum() / trial.treated.sum()
            try:
                found[str(name)] = _one(trial, rows, part, shared[rows], learner)
            except TooLittleData:
                continue
    if len(found) < 2:
        return None
    return _settled(given, found)


def _allotment(customers: int) -> HistGradientBoostingClassifier:
    """Trees, for policies are made of thresholds."""
    return HistGradientBoostingClassifier(
        max_iter=60,
        learning_rate=0.1,
        max_leaf_nodes=8,
        min_samples_leaf=max(20, customers // 100),
        early_stopping=False,
        random_state=0,
    )


def _one(
    trial: Experiment, rows: np.ndarray, part: np.ndarray, shared: np.ndarray, learner: str
) -> tuple[Told, float]:
    """One offer against the held-out, and the standard error of its level."""
    share = np.broadcast_to(np.asarray(trial.propensity, float), rows.shape)[rows]
    chosen = share * part + 1 - share  # of being among these rows at all
    own = Experiment(
        trial.features[rows].reset_index(drop=True),
        trial.outcome[rows],
        trial.treated[rows],
        share * part / chosen,
    )
    fitted = LEARNERS[learner]().fit(own.features, own.outcome, own.treated, own.propensity)
    predicted = out_of_fold(own, learner)
    slope = calibration(own, predicted)
    effect = robust_effects(
        encoder().fit_transform(own.features), own.outcome, own.treated, np.asarray(own.propensity)
    )
    weight = shared / chosen
    level = float(np.average(effect, weights=weight))
    error = float(np.sqrt(np.square(weight * (effect - level)).sum()) / weight.sum())
    return Told(fitted, float(predicted.mean()), slope, level), error


def _settled(given: Pipeline, found: Mapping[str, tuple[Told, float]]) -> Offers | None:
    """The offers with their levels drawn together; None where these do not differ beyond chance."""
    levels = np.array([one.level for one, _ in found.values()])
    precision = np.array([error for _, error in found.values()]) ** -2.0
    middle = float(np.average(levels, weights=precision))
    q, freedom = float(precision @ np.square(levels - middle)), len(found) - 1
    if stats.chi2.sf(q, freedom) >= DIFFERENT:
        return None
    real = 1 - freedom / q
    return Offers(
        given,
        {
            name: replace(one, level=middle + real * (one.level - middle))
            for name, (one, _) in found.items()
        },
    )
