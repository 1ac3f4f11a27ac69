"""Whom a campaign is for: who earns most under the budget by what past campaigns teach, else who has most to lose."""

from typing import TYPE_CHECKING

from retention.campaigns import offers
from retention.campaigns.assignment import control_size
from retention.campaigns.audience import Audience
from retention.campaigns.spec import Targeting, within
from retention.risk.policy import Policy

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from retention.uplift.past_campaigns import UpliftModel, UpliftPrediction


def by_profit(
    customers: "pd.DataFrame", predicted: "UpliftPrediction", policy: Policy, margin: float
) -> Audience:
    """Who earns most by which of their offers, under the policy's budget and largest audience, most profitable first.

    Parameters
    ----------
    customers : DataFrame
        ``churn_probability``, ``expected_value``, ``tier`` and ``rule`` of (n,) who may be written to.
    predicted : UpliftPrediction
        What an offer adds to P(order). Only offers that the past tells apart are weighed against the policy's own
        choice: of those that it does not, the cheapest would always win.

    Returns
    -------
    Audience
        Those chosen, each with the ``rule`` of the offer that was chosen and its ``uplift``. Only the treated cost
        anything, so a budget reaches as many more as are held out. Of the others, who would earn nothing by any offer,
        and who are left out by the limits alone.
    """
    import numpy as np

    from retention.uplift.targeting import Limit, allocate_offers, expected_cost, incremental_profit

    option, uplift = _options(customers, predicted, policy)
    stays = 1 - customers["churn_probability"].to_numpy(float)[:, None]
    uplift = np.clip(uplift, -stays, 1 - stays)  # nobody buys with more than certainty
    value = customers["expected_value"].fillna(0).clip(lower=0).to_numpy(float)[:, None]
    rules, costs = policy.rules, _costs(policy, option, value)
    earned = incremental_profit(stays, uplift, value, margin=margin, **costs)
    profit = np.where(np.isnan(uplift), -np.inf, earned)
    spent = (1 - policy.campaign.holdout) * np.nan_to_num(expected_cost(stays, uplift, **costs))
    limits = [
        Limit(np.ones(profit.shape), policy.campaign.max_audience),
        Limit(spent, policy.campaign.budget),
    ]
    chosen = allocate_offers(profit, limits).offer
    some = np.flatnonzero(chosen >= 0)
    best = chosen[some]
    kept = customers.iloc[some].assign(
        rule=np.array([rule.name for rule in rules], dtype=object)[option[some, best]],
        uplift=uplift[some, best],
        profit=profit[some, best],
    )
    kept = kept.sort_values("profit", ascending=False, kind="stable")
    worth, most = int((profit.max(axis=1, initial=0) > 0).sum()), policy.campaign.max_audience
    return Audience(
        kept.drop(columns="profit").reset_index(drop=True),
        {
            "no_gain": len(customers) - worth,
            "beyond_maximum": max(worth - most, 0),
            "beyond_budget": min(worth, most) - len(kept),
        },
    )


def affordable(customers: "pd.DataFrame", policy: Policy, mean: float) -> int:
    """How many of the customers, in their order, the budget pays for, as `Body.plan` counts the cost.

    Parameters
    ----------
    customers : DataFrame
        ``churn_probability, expected_value, tier, rule`` and, where past campaigns tell it, ``uplift``; those who matter
        most first.
    mean : float
        What an offer is believed to add to P(order) where there is no ``uplift``.
    """
    import numpy as np

    from retention.uplift.targeting import expected_cost

    option = (
        customers["rule"].map({rule.name: at for at, rule in enumerate(policy.rules)}).to_numpy(int)
    )
    value = customers["expected_value"].fillna(0).clip(lower=0).to_numpy(float)
    added = (
        customers["uplift"].to_numpy(float)
        if "uplift" in customers
        else np.full(len(customers), mean)
    )
    stays = 1 - customers["churn_probability"].to_numpy(float)
    # By the same count as the knapsack's, but that nobody is taken to cost less for an offer that drives them away.
    spent = np.cumsum(expected_cost(stays, added.clip(min=0), **_costs(policy, option, value)))
    some = np.arange(1, len(customers) + 1)
    tiers = [(customers["tier"] == tier).cumsum() for tier in customers["tier"].unique()]
    held_out = sum(control_size(number.to_numpy(int), policy.campaign.holdout) for number in tiers)
    paid = np.flatnonzero(within(spent * (some - held_out) / some, policy.campaign.budget))
    return int(paid[-1]) + 1 if len(paid) else 0


def _costs(policy: Policy, option: "np.ndarray", value: "np.ndarray") -> "dict[str, np.ndarray]":
    """What `expected_cost` asks of each ``option`` (a rule's place in the policy) for customers who spend ``value``."""
    import numpy as np

    rules, usual = policy.rules, policy.offer.contact_cost
    contacts = [offers.contact(rule, policy) for rule in rules]
    return {
        "discount": np.array([rule.discount for rule in rules])[option] * value
        + np.array([offers.face(rule, policy) for rule in rules])[option],
        "redemption": np.array(policy.offer.redemption),
        "contact": np.array([usual if cost is None else cost for cost in contacts])[option],
    }


def _options(
    customers: "pd.DataFrame", predicted: "UpliftPrediction", policy: Policy
) -> "tuple[np.ndarray, np.ndarray]":
    """The offers that each customer may get, their own first, as places among the policy's rules, and the uplift of
    each, NaN where there is none: both (n, most offers of one customer)."""
    import numpy as np

    from retention.uplift.offer_effects import offer_kind

    place = {rule.name: at for at, rule in enumerate(policy.rules)}
    kinds = {rule.name: offer_kind(rule.model_dump()) for rule in policy.rules}
    groups = customers.groupby(["rule", "tier"]).indices
    offered = {
        key: [
            rule.name
            for rule in policy.offers_for(*key)
            if rule.name == key[0] or kinds[rule.name] in predicted.by_offer
        ]
        for key in groups
    }
    shape = len(customers), max(map(len, offered.values()), default=1)
    option, uplift = np.zeros(shape, int), np.full(shape, np.nan)
    for key, at in groups.items():
        for slot, name in enumerate(offered[key]):
            told = predicted.by_offer.get(kinds[name])
            option[at, slot] = place[name]
            uplift[at, slot] = predicted.pooled[at] if told is None else told[at]
        own = uplift[at, 0]
        uplift[at, 0] = np.where(np.isnan(own), predicted.pooled[at], own)
    return option, uplift


def told(uplift: "UpliftModel | None") -> Targeting:
    """What the draft says of how its audience was chosen."""
    if uplift is None:
        return Targeting(by="risk", why="none")
    return Targeting(
        by="uplift" if uplift.learner is not None else "risk",
        why=uplift.why,
        campaigns=uplift.campaigns,
        customers=uplift.customers,
        learner=uplift.name,
        qini=uplift.qini,
        qini_low=uplift.qini_low,
        qini_high=uplift.qini_high,
        offers=len(uplift.offers.models) if uplift.offers else 0,
    )
