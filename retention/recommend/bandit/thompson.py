"""Which list and which offer a customer of a campaign gets: Thompson sampling over arms, with every chance written down.

An arm is a blend (what is on the list: what they bought before, what they never bought, both) and an offer (a rule of the policy file).
Each arm has a Bayesian linear regression of the reward on what is known of the customer; the chance of an arm is how often it is
the best in draws of the posterior (Thompson 1933; Agrawal, Goyal 2013), and never below its share of the exploration. Without the bandit
the policy's own arm is taken but for that share, drawn evenly: from such decisions the bandit can be judged before it may act.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from retention.list_rules import ListPolicy, RecommendRules

if TYPE_CHECKING:
    import pandas as pd


BLENDS: tuple[ListPolicy, ...] = ("both", "repeat", "new")
NOISE = 0.25  # the largest variance of a reward between 0 and 1
SPREAD = 0.25  # prior variance of each weight
DRAWS = 400
LEAST_EXPLORED = 0.05  # of the bandit's own decisions
CHECKED = 1e-9


class OfferRule(Protocol):
    """The part of a policy rule that the bandit reads."""

    @property
    def name(self) -> str: ...

    @property
    def action(self) -> str: ...


class OfferPolicy(Protocol):
    """The part of the policy file that the bandit reads; `retention.risk.policy.Policy` has it."""

    @property
    def recommend(self) -> RecommendRules: ...

    @property
    def rules(self) -> Sequence[OfferRule]: ...

    def offers_for(self, rule: str, tier: str) -> Sequence[OfferRule]:
        """Rules that may replace this one for a customer of this tier."""


NEVER, OWN_ITEMS = ("nothing", "call"), ("reminder", "new_arrivals")


@dataclass(frozen=True, slots=True)
class Arms:
    """The arms there are, and which of them each customer may get (customers × arms)."""

    names: tuple[str, ...]
    blend: tuple[str, ...]
    rule: tuple[str, ...]
    allowed: np.ndarray
    own: np.ndarray  # each customer's arm by the policy file; −1 for who has a rule that is none


def pairs(policy: "OfferPolicy") -> tuple[tuple[str, "OfferRule"], ...]:
    """Blend and rule of every arm that this policy file can have; rules that do nothing, or take a person's time, are none.

    Where an action puts items of its own kind first (what is due, what is new), the blend does not vary: it would not be what it says.
    """
    return tuple(
        (blend, rule)
        for rule in policy.rules
        if rule.action not in NEVER
        for blend in ((policy.recommend.policy,) if rule.action in OWN_ITEMS else BLENDS)
    )


def names(policy: "OfferPolicy") -> tuple[str, ...]:
    """The arms by name: ``blend|rule``."""
    return tuple(f"{blend}|{rule.name}" for blend, rule in pairs(policy))


def blend_of(arm: str, own: ListPolicy) -> str:
    """The blend of an arm by its name; the policy's ``own`` where none was drawn."""
    return arm.partition("|")[0] or own


def arms(customers: "pd.DataFrame", policy: "OfferPolicy") -> Arms:
    """The arms for scored customers.

    Parameters
    ----------
    customers : DataFrame
        ``tier`` and ``rule`` (the policy's). Who has a rule that is no arm keeps it, and gets no chance of another.

    Notes
    -----
    With ``recommend.vary_offers`` a customer may also get another offer of theirs (`Policy.offers_for`); without it only the blend varies.
    """
    both = pairs(policy)
    offered = np.array([rule.name for _, rule in both], dtype=object)
    allowed = np.zeros((len(customers), len(both)), dtype=bool)
    for (name, tier), at in customers.groupby(["rule", "tier"]).indices.items():
        if name in offered:
            may = (
                [rule.name for rule in policy.offers_for(name, tier)]
                if policy.recommend.vary_offers
                else [name]
            )
            allowed[at] = np.isin(offered, may)
    position = {(blend, rule.name): place for place, (blend, rule) in enumerate(both)}
    mine = customers["rule"]
    own = np.array(
        [position.get((policy.recommend.policy, name), -1) for name in mine], dtype=np.int64
    )
    return Arms(
        names(policy),
        tuple(blend for blend, _ in both),
        tuple(rule.name for _, rule in both),
        allowed,
        own,
    )


def context(customers: "pd.DataFrame") -> np.ndarray:
    """What the bandit sees of each customer (n × 4): 1, churn probability, logarithm of the expected value, whether the tier is high."""
    value = customers["expected_value"].astype(float).fillna(0.0).clip(lower=0.0)
    return np.column_stack(
        [
            np.ones(len(customers)),
            customers["churn_probability"].astype(float),
            np.log1p(value) / 5,
            customers["tier"] == "high",
        ]
    ).astype(float)


def explored(choice: Arms, share: float) -> np.ndarray:
    """The chances (customers × arms) without the bandit: the policy's own arm, and a share spread evenly over all allowed."""
    chances = share * choice.allowed / choice.allowed.sum(axis=1, keepdims=True)
    chances[np.arange(len(chances)), choice.own] += 1 - share
    return chances


@dataclass(frozen=True, slots=True)
class Posterior:
    """Of the weights of each arm: mean (arms × features) and a square root of the covariance (arms × features × features)."""

    mean: np.ndarray
    root: np.ndarray

    def predicted(self, seen: np.ndarray) -> np.ndarray:
        """The expected reward (customers × arms)."""
        return seen @ self.mean.T

    def chances(
        self, seen: np.ndarray, allowed: np.ndarray, *, explore: float, seed: int
    ) -> np.ndarray:
        """How often each allowed arm is the best in draws of the posterior, mixed with an even exploration."""
        rng = np.random.default_rng(seed)
        best = np.zeros(allowed.shape)
        rows = np.arange(len(seen))
        for _ in range(DRAWS):
            weights = self.mean + np.einsum(
                "aij,aj->ai", self.root, rng.standard_normal(self.mean.shape)
            )
            best[rows, np.where(allowed, seen @ weights.T, -np.inf).argmax(axis=1)] += 1
        even = allowed / allowed.sum(axis=1, keepdims=True)
        share = max(explore, LEAST_EXPLORED)
        return (1 - share) * best / DRAWS + share * even


def learned(seen: np.ndarray, taken: np.ndarray, reward: np.ndarray, arms_: int) -> Posterior:
    """The posterior after these decisions.

    Parameters
    ----------
    seen : ndarray, (n × features)
    taken : ndarray of int, (n,)
        The arm of each.
    reward : ndarray, (n,)
        Between 0 and 1.
    arms_ : int
        How many arms there are; one that was never taken keeps the prior, whose mean is that of all rewards.
    """
    width = seen.shape[1]
    prior = np.zeros(width)
    prior[0] = reward.mean() if len(reward) else 0.0  # the first feature is 1
    mean, root = np.empty((arms_, width)), np.empty((arms_, width, width))
    for arm in range(arms_):
        mine = taken == arm
        precision = np.eye(width) / SPREAD + seen[mine].T @ seen[mine] / NOISE
        covariance = np.linalg.inv(precision)
        mean[arm] = covariance @ (prior / SPREAD + seen[mine].T @ reward[mine] / NOISE)
        root[arm] = np.linalg.cholesky(covariance)
    return Posterior(mean, root)


def drawn(chances: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """One arm for each customer by its chances, and the chance with which it was drawn."""
    if len(chances) and np.abs(chances.sum(axis=1) - 1).max() > CHECKED:
        raise ValueError("the chances of a customer do not sum to 1")
    ends = chances.cumsum(axis=1)
    at = np.random.default_rng(seed).random((len(chances), 1)) * ends[:, -1:]
    taken = (at >= ends).sum(axis=1)
    return taken, chances[np.arange(len(chances)), taken]


def decided(
    customers: "pd.DataFrame", policy: "OfferPolicy", posterior: Posterior | None, seed: int
) -> "pd.DataFrame":
    """The audience with what each gets: ``rule`` (perhaps another), ``blend``, ``arm`` and ``propensity``, the chance it was drawn with.

    Parameters
    ----------
    posterior : Posterior or None
        Of the bandit; None: the policy's own arms, and the share ``recommend.experiment`` drawn evenly.
    """
    choice = arms(customers, policy)
    some = choice.own >= 0
    mine = Arms(choice.names, choice.blend, choice.rule, choice.allowed[some], choice.own[some])
    share = policy.recommend.experiment
    if posterior is None:
        chances = explored(mine, share)
    else:
        chances = posterior.chances(
            context(customers[some]), mine.allowed, explore=share, seed=seed
        )
    taken, chance = drawn(chances, seed + 1)
    made = customers.assign(blend=policy.recommend.policy, arm="", propensity=np.nan)
    made.loc[some, "rule"] = [choice.rule[arm] for arm in taken]
    made.loc[some, "blend"] = [choice.blend[arm] for arm in taken]
    made.loc[some, "arm"] = [choice.names[arm] for arm in taken]
    made.loc[some, "propensity"] = chance
    return made


def positions(known: Sequence[str], wanted: Any) -> np.ndarray:
    """The place of each wanted arm; −1 for one that is no more."""
    place = {name: at for at, name in enumerate(known)}
    return np.array([place.get(name, -1) for name in wanted], dtype=np.int64)
