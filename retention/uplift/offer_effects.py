"""Estimate the uplift of several past offers.

Treatment is randomised, but the offer mostly follows a policy. Customers of an offer are therefore
weighted by the probability of that offer for similar customers (the generalised propensity).
Customers without similar customers of that offer get no prediction.

References
----------
Imbens 2000 (generalised propensity); Crump, Hotz, Imbens & Mitnik 2009 (common support); Cochran
1954 (Q).
"""

from collections.abc import Mapping
from contextlib import suppress
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
from retention.uplift.evaluation import calibration_slope, out_of_fold_predictions
from retention.uplift.experiment import Experiment
from retention.uplift.learners import (
    LEARNERS,
    UpliftLearner,
    check_cells,
    doubly_robust_effects,
    encoder,
    logistic,
)

MIN_TREATED = 100  # customers per offer
MIN_SUPPORT = 0.05  # probability of an offer among treated customers; below it no prediction
SIGNIFICANCE = 0.05  # p of Cochran's Q above which offers are treated as one


def offer_kind(offer: Mapping[str, Any]) -> str:
    """Return the kind of an offer.

    It does not depend on the name of the rule; empty for none. Two offers with the same text are of
    the same kind.
    """
    action = offer.get("action")
    if not action:
        return ""
    # the amount of free shipping is the current cost of a parcel
    amount = offer.get("amount") if action == "coupon" else 0.0
    terms = (offer.get("discount"), amount, offer.get("min_order"))
    # any category counts as the same restriction
    restriction = ["category"] if offer.get("category") or offer.get("categories") else []
    what = [offer["what"]] if offer.get("what") else []
    return ":".join([action, *(f"{term or 0.0:g}" for term in terms), *restriction, *what])


@dataclass(frozen=True, slots=True)
class OfferModel:
    """Predict the uplift of one offer.

    Predictions are shrunk to their ``mean`` by ``slope`` and shifted to ``level``.
    """

    learner: UpliftLearner
    mean: float
    slope: float
    level: float

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """Predict the uplift of (n,) customers."""
        return self.level + self.slope * (self.learner.predict(features) - self.mean)


@dataclass(frozen=True, slots=True)
class OfferModels:
    """Hold a model per offer."""

    classifier: Pipeline
    models: Mapping[str, OfferModel]

    def predict(self, features: pd.DataFrame) -> dict[str, np.ndarray]:
        """Predict uplift per kind, (n,). Customers without support get NaN."""
        by_offer = self.classifier.predict_proba(features).T
        probability = dict(zip(self.classifier.classes_, by_offer, strict=True))
        return {
            name: np.where(probability[name] >= MIN_SUPPORT, model.predict(features), np.nan)
            for name, model in self.models.items()
        }


@threadpool_limits.wrap(limits=1)  # as in `predict_split`, the fits are small
def fit_offer_models(trial: Experiment, kinds: np.ndarray, learner: str) -> OfferModels | None:
    """Fit each offer's own uplift.

    `kinds`: offer of each treated customer; empty if unknown and for the hold-out.
    `learner`: name in `LEARNERS`, selected on all offers together.

    Notes
    -----
    For offer k, P(k | x) = e c_k(x) with e the share of treated; against the hold-out alone its
    propensity is e c_k / (e c_k + 1 − e). Levels are means of doubly robust effects on customers
    for whom every offer has support, weighted to the same population. Cochran's Q tests their
    difference; it is then shrunk by 1 − (K − 1) / Q (James & Stein). The offers share their
    hold-out, which makes Q smaller: a conservative error.
    """
    names, counts = np.unique(kinds[(trial.treated == 1) & (kinds != "")], return_counts=True)
    names = names[counts >= MIN_TREATED]
    if len(names) < 2:
        return None
    is_known = np.asarray(np.isin(kinds, names))
    classifier = make_pipeline(encoder(), _offer_classifier(int(is_known.sum())))
    known, others = trial.features[is_known], trial.features[~is_known]
    offers = kinds[is_known]
    probability = np.empty((len(kinds), len(names)))
    probability[is_known] = cross_val_predict(classifier, known, offers, method="predict_proba")
    probability[~is_known] = classifier.fit(known, offers).predict_proba(others)
    has_common_support = np.all(probability >= MIN_SUPPORT, axis=1)
    models = {}
    for column, name in enumerate(names):
        rows = ((kinds == name) | (trial.treated == 0)) & (probability[:, column] >= MIN_SUPPORT)
        if (rows & (kinds == name)).sum() >= MIN_TREATED:
            share, common = probability[rows, column], has_common_support[rows]
            share = share * is_known.sum() / trial.treated.sum()
            with suppress(TooLittleData):
                models[str(name)] = _fit_offer(trial, rows, share, common, learner)
    return _shrink_levels(classifier, models) if len(models) > 1 else None


def _offer_classifier(customers: int) -> HistGradientBoostingClassifier:
    """Create a classifier of offers.

    It consists of trees because policies consist of thresholds.
    """
    return HistGradientBoostingClassifier(
        max_iter=60,
        learning_rate=0.1,
        max_leaf_nodes=8,
        min_samples_leaf=max(20, customers // 100),
        early_stopping=False,
        random_state=0,
    )


def _fit_offer(
    trial: Experiment,
    rows: np.ndarray,
    offer_share: np.ndarray,
    has_common_support: np.ndarray,
    learner: str,
) -> tuple[OfferModel, float]:
    """Fit one offer against the hold-out.

    The standard error of its level is returned, too. Raises `TooLittleData`.
    """
    share = trial.shares[rows]
    inclusion = share * offer_share + 1 - share  # probability of being among these rows
    propensity, features = share * offer_share / inclusion, trial.features[rows]
    outcome, treated = trial.outcome[rows], trial.treated[rows]
    subset = Experiment(features.reset_index(drop=True), outcome, treated, propensity)
    model = LEARNERS[learner]().fit(subset.features, outcome, treated, propensity)
    predicted = out_of_fold_predictions(subset, learner)
    slope = calibration_slope(subset, predicted)
    # Only these customers count for the level, so they must be able to tell it alone.
    check_cells(outcome[has_common_support], treated[has_common_support])
    encoded = encoder().fit_transform(subset.features)
    effect = doubly_robust_effects(encoded, outcome, treated, propensity, logistic())
    weight = has_common_support / inclusion
    level = float(np.average(effect, weights=weight))
    error = float(np.sqrt(np.square(weight * (effect - level)).sum()) / weight.sum())
    return OfferModel(model, float(predicted.mean()), slope, level), error


def _shrink_levels(
    classifier: Pipeline, models: Mapping[str, tuple[OfferModel, float]]
) -> OfferModels | None:
    """Shrink the levels of the offers to each other. None if they do not differ beyond chance."""
    levels = np.array([model.level for model, _ in models.values()])
    precision = np.array([error for _, error in models.values()]) ** -2.0
    common = float(np.average(levels, weights=precision))
    q, freedom = float(precision @ np.square(levels - common)), len(models) - 1
    if stats.chi2.sf(q, freedom) >= SIGNIFICANCE:
        return None
    real_share = 1 - freedom / q
    shrunk = {
        name: replace(model, level=common + real_share * (model.level - common))
        for name, (model, _) in models.items()
    }
    return OfferModels(classifier, shrunk)
