"""Estimate what each offer of a test would have earned, and learn a rule that chooses between them.

Arm 0 is the hold-out group, arm 1 the campaign's own offer (A), and the others are the variants.
All values are incremental: profit per customer with the offer, less that of the hold-out group.

Scores are doubly robust (Dudík, Langford, Li 2011): Γ_a = m_a(x) + 1{taken = a} (y − m_a(x)) / p_a,
with m fitted on the customers of other folds. The learned rule gives each group of customers (a
rule of the policy) the arm with the largest mean score, after shrinking the groups to their common
mean (DerSimonian & Laird 1986). What it earns is estimated for each fold by the rule of the other
folds, so no customer judges a rule that learned from them (Athey & Wager 2021).
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from retention.campaigns.measurement.effects import MAX_SKEWNESS
from retention.recommend.bandit import offpolicy
from retention.recommend.bandit.offpolicy import Estimate

HOLDOUT, OWN = 0, 1  # arms
FOLDS = 5
MIN_BUYERS = 100  # of each arm; with fewer, intervals of skewed profits are too narrow
FALSE_PROPOSALS = 0.05  # of a shop without any effect, over all of its results
PENALTY = 10.0  # of the profit model's weights


@dataclass(frozen=True, slots=True)
class OfferLog:
    """Customers of tests, with the arm that each got (n,) and the chance of each arm (n, arms).

    ``groups``: the rule of the policy. ``features`` (n, k) are known before sending. ``is_new``:
    whether a customer is of the newest test.
    """

    customers: np.ndarray
    groups: np.ndarray
    taken: np.ndarray
    chances: np.ndarray
    profit: np.ndarray
    bought: np.ndarray
    features: np.ndarray
    is_new: np.ndarray

    @property
    def logged(self) -> np.ndarray:
        """The chance of the arm that each customer got."""
        return self.of_taken(self.chances)

    def of_taken(self, values: np.ndarray) -> np.ndarray:
        """Return the value of the arm that each customer got, of (n, arms)."""
        return np.asarray(values[np.arange(len(self.taken)), self.taken])

    @property
    def has_enough(self) -> bool:
        """Whether each arm has enough buyers to be compared."""
        arms = range(self.chances.shape[1])
        buyers = [int(self.bought[self.taken == arm].sum()) for arm in arms]
        return len(buyers) > OWN and min(buyers) >= MIN_BUYERS

    def select(self, rows: np.ndarray) -> "OfferLog":
        """Return some of the customers."""
        return OfferLog(*(getattr(self, name)[rows] for name in OfferLog.__dataclass_fields__))


@dataclass(frozen=True, slots=True)
class PolicyValue:
    """Incremental profit per customer of a rule, by IPS and doubly robust, with 95% intervals.

    ``effective``: how many customers the weights are worth.
    """

    ips: Estimate
    dr: Estimate
    effective: float


@dataclass(frozen=True, slots=True)
class GroupOffer:
    """Incremental profit of an arm per customer of a group, in the newest test alone."""

    group: str
    arm: int
    customers: int
    value: float
    error: float


@dataclass(frozen=True, slots=True)
class LearnedRule:
    """What each arm and the learned rule would have earned.

    ``chosen``: arm of each group. ``gain``: of the learned rule over always A; its interval holds
    for all results of a shop at once. ``is_better``: whether that gain is beyond chance.
    """

    arms: tuple[PolicyValue, ...]
    learned: PolicyValue
    gain: Estimate
    chosen: Mapping[str, int]
    groups: tuple[GroupOffer, ...]

    @property
    def is_better(self) -> bool:
        return self.gain.low > 0 and any(arm != OWN for arm in self.chosen.values())


def learn_rule(log: OfferLog, results_before: int = 0) -> LearnedRule | None:
    """Learn a rule, and estimate what it and each arm would have earned.

    `results_before`: earlier results that could have led to a proposal. The k-th result may use
    6 / (π k)² of `FALSE_PROPOSALS`, which sums to all of it.
    Returns: None if an arm has too few buyers.
    """
    if not log.has_enough:
        return None
    predicted, scores, target = cross_fit(log)
    arms = log.chances.shape[1]
    always = np.eye(arms)
    level = 1 - FALSE_PROPOSALS * 6 / (np.pi * (results_before + 1)) ** 2
    judged = np.asarray(target.any(axis=1))
    later, chance, expected = log.select(judged), target[judged], predicted[judged]
    return LearnedRule(
        tuple(
            value_of(log, np.tile(always[arm], (len(target), 1)), predicted)
            for arm in range(1, arms)
        ),
        value_of(later, chance, expected),
        estimate_value(later, chance - always[OWN], expected, level),
        choose_arms(log.groups, scores),
        _group_offers(log.select(log.is_new), scores[log.is_new]),
    )


def cross_fit(log: OfferLog) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the predicted profit, the scores and the learned rule's chances, each (n, arms).

    The rule of a fold was learned from the folds before it; that of the first fold is empty. Rules
    of all other folds would make the errors of the folds depend on each other, and the interval too
    narrow (Luedtke & van der Laan 2016).
    """
    predicted, fold = predict_profit(log)
    scores, rows = predicted.copy(), np.arange(len(log.taken))
    scores[rows, log.taken] += (log.profit - log.of_taken(predicted)) / log.logged
    target = np.zeros(scores.shape)
    for number in range(1, FOLDS):
        rule = choose_arms(log.groups[fold < number], scores[fold < number])
        inside = np.flatnonzero(fold == number)
        target[inside, [rule.get(group, OWN) for group in log.groups[inside]]] = 1.0
    return predicted, scores, target


def predict_profit(log: OfferLog) -> tuple[np.ndarray, np.ndarray]:
    """Predict each arm's profit (n, arms) from the customers of other folds; return folds, too."""
    arms = log.chances.shape[1]
    names = sorted(set(log.groups))
    in_group = np.column_stack([log.groups == name for name in names])
    known = np.hstack([log.features, in_group])
    fold = np.array([zlib.crc32(str(one).encode()) % FOLDS for one in log.customers])
    predicted = np.zeros(log.chances.shape)
    for number in range(FOLDS):
        inside, rest = fold == number, fold != number
        if not (inside.any() and rest.any()):
            continue
        model = make_pipeline(StandardScaler(), Ridge(PENALTY))
        model.fit(np.hstack([known[rest], np.eye(arms)[log.taken[rest]]]), log.profit[rest])
        for arm in range(arms):
            design = np.hstack([known[inside], np.tile(np.eye(arms)[arm], (inside.sum(), 1))])
            predicted[inside, arm] = model.predict(design)
    return predicted, fold


def value_of(log: OfferLog, target: np.ndarray, predicted: np.ndarray) -> PolicyValue:
    """Estimate the incremental profit of a rule.

    `target`: the chance (n, arms) that the rule gives to each arm.
    """
    contrast = target - np.eye(target.shape[1])[HOLDOUT]
    return PolicyValue(
        estimate_value(log, contrast, np.zeros(predicted.shape)),
        estimate_value(log, contrast, predicted),
        offpolicy.effective_sample_size(log.logged, log.of_taken(target)),
    )


def choose_arms(groups: np.ndarray, scores: np.ndarray) -> dict[str, int]:
    """Return the arm that earns most for each group, after shrinking groups to their mean."""
    names, at = np.unique(groups, return_inverse=True)
    sizes = np.bincount(at, minlength=len(names))
    gains = np.zeros((len(names), scores.shape[1]))
    gains[:, HOLDOUT] = -np.inf
    for arm in range(OWN + 1, scores.shape[1]):
        difference = scores[:, arm] - scores[:, OWN]
        means = np.bincount(at, difference, len(names)) / sizes
        # A group's own variance would be 0 where nobody bought.
        spread = np.square(difference - means[at]).sum() / max(len(at) - len(names), 1)
        gains[:, arm] = shrink(means, np.full(len(names), spread) / sizes)
    return {str(name): int(arm) for name, arm in zip(names, gains.argmax(axis=1), strict=True)}


def shrink(means: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Shrink means to their common mean by the variance between them (DerSimonian & Laird 1986).

    Examples
    --------
    >>> shrink(np.array([0.0, 2.0]), np.array([4.0, 4.0])).tolist()
    [1.0, 1.0]
    """
    if len(means) < 2 or variances.max() <= 0:
        return means
    weights = 1 / variances
    common = np.average(means, weights=weights)
    q = weights @ np.square(means - common)
    between = (q - len(means) + 1) / (weights.sum() - weights @ weights / weights.sum())
    own = np.maximum(between, 0) / (np.maximum(between, 0) + variances)
    shrunk: np.ndarray = own * means + (1 - own) * common
    return shrunk


def estimate_value(
    log: OfferLog, contrast: np.ndarray, predicted: np.ndarray, level: float = 0.975
) -> Estimate:
    """Estimate the mean of Σ_a c_a y_a: by IPS where nothing is predicted, else doubly robust.

    With weights w = c / p and residuals e, the variance of w e is that of all arms together:
    e² Σ_a c_a² / p_a, or that of w e if it is larger. A small group without large orders would
    otherwise have a small variance and a false gain, as in `measurement.effects`. The remaining
    skewness moves the quantiles, too (Cornish & Fisher 1938).

    `level`: of each end of the interval.
    """
    n = len(log.taken)
    residual = log.profit - log.of_taken(predicted)
    direct = (contrast * predicted).sum(axis=1)
    weighted = log.of_taken(contrast) / log.logged * residual
    value = float((direct + weighted).mean())
    second = np.square(residual) * (contrast**2 / log.chances).sum(axis=1)
    third = residual**3 * (contrast**3 / log.chances**2).sum(axis=1)
    pooled = direct.var() / n + second.sum() / n**2 - weighted.mean() ** 2 / n
    variance = max(pooled, (direct + weighted).var() / n)
    error = float(np.sqrt(max(variance, 0.0)))
    quantile = float(stats.norm.ppf(level))
    skewness = third.sum() / n**3 / error**3 if error else 0.0
    limited = float(np.clip(skewness, -MAX_SKEWNESS, MAX_SKEWNESS))
    middle = value - limited * (quantile**2 - 1) / 6 * error
    return Estimate(value, middle - quantile * error, middle + quantile * error)


def _group_offers(log: OfferLog, scores: np.ndarray) -> tuple[GroupOffer, ...]:
    offers = []
    for name in sorted(set(log.groups)):
        own = scores[log.groups == name]
        for arm in range(OWN, scores.shape[1]):
            each = own[:, arm] - own[:, HOLDOUT]
            error = float(each.std(ddof=1) / np.sqrt(len(each))) if len(each) > 1 else np.inf
            offers.append(GroupOffer(str(name), arm, len(each), float(each.mean()), error))
    return tuple(offers)
