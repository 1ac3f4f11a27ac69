"""Assign lists and offers by Thompson sampling.

Every probability is logged. An arm is a blend (earlier purchases, new items, both) and an offer (a
rule of the policy file). A Bayesian linear regression per arm predicts the reward from features of
the customer. The probability of an arm is its share of wins in draws of the posterior (Thompson
1933; Agrawal, Goyal 2013), but at least its share of the exploration. Without the bandit the
policy's own arm is taken, except for that share, drawn evenly. Such decisions allow an evaluation
before the bandit may act.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from retention.list_rules import ListPolicy, RecommendRules

if TYPE_CHECKING:
    import pandas as pd


BLENDS: tuple[ListPolicy, ...] = ("both", "repeat", "new")
NOISE_VARIANCE = 0.25  # the largest variance of a reward between 0 and 1
PRIOR_VARIANCE = 0.25  # of each weight
DRAWS = 400
MIN_EXPLORATION = 0.05  # of the bandit's own decisions
TOLERANCE = 1e-9


class OfferRule(Protocol):
    """Describe the policy rule for the bandit."""

    @property
    def name(self) -> str: ...

    @property
    def action(self) -> str: ...


class OfferPolicy(Protocol):
    """Describe the policy file for the bandit. `retention.risk.policy.Policy` implements it."""

    @property
    def recommend(self) -> RecommendRules: ...

    @property
    def rules(self) -> Sequence[OfferRule]: ...

    def offers_for(self, rule: str, tier: str) -> Sequence[OfferRule]:
        """Return the rules that may replace a rule."""


WITHOUT_ARM = ("nothing", "call")  # actions
WITH_OWN_ITEMS = ("reminder", "new_arrivals")  # actions that put their own items first


@dataclass(frozen=True, slots=True)
class Arms:
    """Hold the arms and the eligibility of each customer.

    `own`: each customer's arm by the policy file; −1 if their rule has none.
    """

    names: tuple[str, ...]
    blend: tuple[str, ...]
    rule: tuple[str, ...]
    allowed: np.ndarray
    own: np.ndarray


def arm_pairs(policy: "OfferPolicy") -> tuple[tuple[str, "OfferRule"], ...]:
    """List blend and rule of every possible arm.

    Rules that do nothing or need a person have no arm. Actions that put their own items first (due
    or new items) have only the policy's blend, since another one would not match the list.
    """
    return tuple(
        (blend, rule)
        for rule in policy.rules
        if rule.action not in WITHOUT_ARM
        for blend in ((policy.recommend.policy,) if rule.action in WITH_OWN_ITEMS else BLENDS)
    )


def arm_names(policy: "OfferPolicy") -> tuple[str, ...]:
    """List the names of the arms, ``blend|rule``."""
    return tuple(f"{blend}|{rule.name}" for blend, rule in arm_pairs(policy))


def blend_of(arm: str, own: ListPolicy) -> str:
    """Return the blend of an arm's name.

    `arm`: empty if none was drawn.
    """
    return arm.partition("|")[0] or own


def eligible_arms(customers: "pd.DataFrame", policy: "OfferPolicy") -> Arms:
    """Determine the arms that each customer may get.

    `customers`: ``tier`` and ``rule`` (the policy's). Customers keep a rule that has no arm.
    `policy`: with ``recommend.vary_offers`` a customer may get another of their offers
    (`Policy.offers_for`); otherwise only the blend varies.
    """
    blends_and_rules = arm_pairs(policy)
    offered = np.array([rule.name for _, rule in blends_and_rules], dtype=object)
    allowed = np.zeros((len(customers), len(blends_and_rules)), dtype=bool)
    for (name, tier), rows in customers.groupby(["rule", "tier"]).indices.items():
        if name in offered:
            alternatives = [name]
            if policy.recommend.vary_offers:
                alternatives = [rule.name for rule in policy.offers_for(name, tier)]
            allowed[rows] = np.isin(offered, alternatives)
    names = arm_names(policy)
    own = arm_positions(names, [f"{policy.recommend.policy}|{rule}" for rule in customers["rule"]])
    blends = tuple(blend for blend, _ in blends_and_rules)
    return Arms(names, blends, tuple(offered), allowed, own)


def context_features(customers: "pd.DataFrame") -> np.ndarray:
    """Compute the bandit's customer features (n × 4).

    They are 1, churn probability, logarithm of the expected value, and whether the tier is high.
    """
    value = customers["expected_value"].astype(float).fillna(0.0).clip(lower=0.0)
    probability, is_high = customers["churn_probability"].astype(float), customers["tier"] == "high"
    columns = [np.ones(len(customers)), probability, np.log1p(value) / 5, is_high]
    return np.column_stack(columns).astype(float)


def exploration_chances(arms: Arms, share: float) -> np.ndarray:
    """Compute the probabilities without the bandit.

    They are (customers × arms). The policy's own arm gets the rest of a share that is spread evenly
    over all allowed arms.
    """
    chances = share * arms.allowed / arms.allowed.sum(axis=1, keepdims=True)
    chances[np.arange(len(chances)), arms.own] += 1 - share
    return chances


@dataclass(frozen=True, slots=True)
class Posterior:
    """Hold the posterior of each arm's weights."""

    mean: np.ndarray
    root: np.ndarray

    def expected_rewards(self, features: np.ndarray) -> np.ndarray:
        """Compute the expected reward (customers × arms)."""
        return features @ self.mean.T

    def chances(
        self, features: np.ndarray, allowed: np.ndarray, *, explore: float, seed: int
    ) -> np.ndarray:
        """Compute each arm's probability (customers × arms).

        `explore`: share of even exploration; at least `MIN_EXPLORATION`.
        Returns: share of wins in draws of the posterior, mixed with the exploration.
        """
        rng = np.random.default_rng(seed)
        wins = np.zeros(allowed.shape)
        rows = np.arange(len(features))
        for _ in range(DRAWS):
            noise = rng.standard_normal(self.mean.shape)
            weights = self.mean + np.einsum("aij,aj->ai", self.root, noise)
            wins[rows, np.where(allowed, features @ weights.T, -np.inf).argmax(axis=1)] += 1
        uniform = allowed / allowed.sum(axis=1, keepdims=True)
        share = max(explore, MIN_EXPLORATION)
        return (1 - share) * wins / DRAWS + share * uniform


def fit_posterior(
    features: np.ndarray, taken: np.ndarray, reward: np.ndarray, arm_count: int
) -> Posterior:
    """Fit the posterior on logged decisions.

    `reward`: between 0 and 1.
    `arm_count`: number of arms. An arm that was never taken keeps the prior, whose mean is the mean
    reward.
    """
    width = features.shape[1]
    prior = np.zeros(width)
    prior[0] = reward.mean() if len(reward) else 0.0  # the first feature is 1
    mean, root = np.empty((arm_count, width)), np.empty((arm_count, width, width))
    for arm in range(arm_count):
        own, own_reward = features[taken == arm], reward[taken == arm]
        precision = np.eye(width) / PRIOR_VARIANCE + own.T @ own / NOISE_VARIANCE
        covariance = np.linalg.inv(precision)
        mean[arm] = covariance @ (prior / PRIOR_VARIANCE + own.T @ own_reward / NOISE_VARIANCE)
        root[arm] = np.linalg.cholesky(covariance)
    return Posterior(mean, root)


def draw_arms(chances: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one arm per customer."""
    if len(chances) and np.abs(chances.sum(axis=1) - 1).max() > TOLERANCE:
        raise ValueError("the chances of a customer do not sum to 1")
    ends = chances.cumsum(axis=1)
    at = np.random.default_rng(seed).random((len(chances), 1)) * ends[:, -1:]
    taken = (at >= ends).sum(axis=1)
    return taken, chances[np.arange(len(chances)), taken]


def assign_arms(
    customers: "pd.DataFrame", policy: "OfferPolicy", posterior: Posterior | None, seed: int
) -> "pd.DataFrame":
    """Draw an offer and a blend for each customer.

    `posterior`: of the bandit. Without it the policy's own arms are used, except for the share
    ``recommend.experiment``, which is drawn evenly.
    Returns: ``customers`` with ``rule`` (possibly replaced), ``blend``, ``arm`` and ``propensity``.
    """
    arms = eligible_arms(customers, policy)
    has_arm = arms.own >= 0
    eligible = replace(arms, allowed=arms.allowed[has_arm], own=arms.own[has_arm])
    share = policy.recommend.experiment
    if posterior is None:
        chances = exploration_chances(eligible, share)
    else:
        chances = posterior.chances(
            context_features(customers[has_arm]), eligible.allowed, explore=share, seed=seed
        )
    taken, probability = draw_arms(chances, seed + 1)
    assigned = customers.assign(blend=policy.recommend.policy, arm="", propensity=np.nan)
    for name, of_arm in (("rule", arms.rule), ("blend", arms.blend), ("arm", arms.names)):
        assigned.loc[has_arm, name] = [of_arm[arm] for arm in taken]
    assigned.loc[has_arm, "propensity"] = probability
    return assigned


def arm_positions(known: Sequence[str], wanted: Any) -> np.ndarray:
    """Locate arms by name. Arms that no longer exist get −1."""
    position = {name: number for number, name in enumerate(known)}
    return np.array([position.get(name, -1) for name in wanted], dtype=np.int64)
