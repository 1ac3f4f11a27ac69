"""Rank customers by expected profit within the budget, from what past campaigns showed."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import func, select

from retention.campaigns.lifecycle.spec import Prior, Targeting, is_within_budget
from retention.campaigns.measurement.effects import MIN_BUYERS
from retention.campaigns.planning import offer_terms
from retention.campaigns.planning.assignment import control_size
from retention.campaigns.planning.audience import Audience
from retention.campaigns.planning.offer_terms import orders_in_window
from retention.churn.lost_margin import return_chance
from retention.churn.population import buyers
from retention.db import Transaction
from retention.db.tables import Campaign
from retention.risk.policy import Policy
from retention.risk.strategy import WIN_BACK, KindName
from retention.uplift.offer_effects import offer_kind
from retention.uplift.targeting import Limit, allocate_offers, expected_cost, incremental_profit
from retention.window import Window

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake
    from retention.uplift.past_campaigns import UpliftModel, UpliftPrediction


def select_by_profit(
    customers: "pd.DataFrame", predicted: "UpliftPrediction", policy: Policy, margin: float
) -> Audience:
    """Select the most profitable offer per customer.

    `customers`: ``churn_probability``, ``expected_value``, ``tier`` and ``rule`` of n eligible
    customers.
    `predicted`: uplift in P(order) by offer.
    `margin`: margin as a share of sales.
    Returns: selected customers, most profitable first, with the ``rule`` of the best offer and its
    ``uplift``.

    Notes
    -----
    Only treated customers cost money, so the budget covers proportionally more customers than are
    treated. Only offers that past campaigns tell apart compete with the policy's own choice. Among
    offers without a difference, the cheapest would always win.
    """
    option, uplift = _options(customers, predicted, policy)
    p_order, value = (each[:, None] for each in orders_in_window(customers))
    uplift = np.clip(uplift, -p_order, 1 - p_order)  # P(order) stays in [0, 1]
    rules, costs = policy.rules, _costs(policy, option, value)
    incremental = incremental_profit(p_order, uplift, value, margin=margin, **costs)
    profit = np.where(np.isnan(uplift), -np.inf, incremental)
    full_costs = np.nan_to_num(expected_cost(p_order, uplift, **costs))
    expected_costs = (1 - policy.campaign.holdout) * full_costs
    limits = [
        Limit(np.ones(profit.shape), policy.campaign.max_audience),
        Limit(expected_costs, policy.campaign.budget),
    ]
    limited = [(at, rule.most) for at, rule in enumerate(rules) if rule.most]
    limits += [Limit((option == at).astype(float), most) for at, most in limited]
    chosen = allocate_offers(profit, limits).offer
    selected = np.flatnonzero(chosen >= 0)
    best = chosen[selected]
    audience = customers.iloc[selected].assign(
        rule=np.array([rule.name for rule in rules], dtype=object)[option[selected, best]],
        uplift=uplift[selected, best],
        profit=profit[selected, best],
    )
    audience = audience.sort_values("profit", ascending=False, kind="stable")
    maximum = policy.campaign.max_audience
    profitable = int((profit.max(axis=1, initial=0) > 0).sum())
    return Audience(
        audience.drop(columns="profit").reset_index(drop=True),
        {
            "no_gain": len(customers) - profitable,
            "beyond_maximum": max(profitable - maximum, 0),
            "beyond_budget": min(profitable, maximum) - len(audience),
        },
    )


def affordable_count(customers: "pd.DataFrame", policy: Policy, mean: float) -> int:
    """Count the leading customers that the budget covers.

    Uses the same cost as `Body.plan`.

    `customers`: ``churn_probability, expected_value, tier, rule``, optionally ``uplift``; most
    important first.
    `mean`: assumed uplift in P(order) if the column ``uplift`` is missing.
    """
    campaign, count, tiers = policy.campaign, len(customers), customers["tier"]
    index_of = {rule.name: at for at, rule in enumerate(policy.rules)}
    option = customers["rule"].map(index_of).to_numpy(int)
    p_order, value = orders_in_window(customers)
    uplift = customers["uplift"].to_numpy(float) if "uplift" in customers else np.full(count, mean)
    # As in the knapsack, but a negative uplift does not reduce the cost.
    costs = expected_cost(p_order, uplift.clip(min=0), **_costs(policy, option, value))
    counts = np.arange(1, count + 1)
    tier_sizes = [(tiers == tier).cumsum().to_numpy(int) for tier in tiers.unique()]
    held_out = sum(control_size(number, campaign.holdout) for number in tier_sizes)
    treated_costs = np.cumsum(costs) * (counts - held_out) / counts
    affordable = np.flatnonzero(is_within_budget(treated_costs, campaign.budget))
    return int(affordable[-1]) + 1 if len(affordable) else 0


def _costs(policy: Policy, option: "np.ndarray", value: "np.ndarray") -> "dict[str, np.ndarray]":
    """Arguments of `expected_cost` by rule index and value."""
    rules, usual, usual_rate = policy.rules, policy.offer.contact_cost, policy.offer.redemption
    rates = [rule.redeemed for rule in rules]
    contacts = [offer_terms.contact_cost(rule, policy) for rule in rules]
    return {
        "discount": np.array([rule.discount for rule in rules])[option] * value
        + np.array([offer_terms.money_off(rule, policy) for rule in rules])[option],
        "redemption": np.array([usual_rate if r is None else r for r in rates])[option],
        "contact": np.array([usual if cost is None else cost for cost in contacts])[option],
    }


def _options(
    customers: "pd.DataFrame", predicted: "UpliftPrediction", policy: Policy
) -> "tuple[np.ndarray, np.ndarray]":
    """Allowed offers per customer and their uplift.

    Both arrays have shape (n, most offers of one customer). Offers are indices into the policy's
    rules, the customer's own first. Uplift is NaN in unused slots.
    """
    rule_index = {rule.name: at for at, rule in enumerate(policy.rules)}
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
            offer_uplift = predicted.by_offer.get(kinds[name])
            option[at, slot] = rule_index[name]
            uplift[at, slot] = predicted.pooled[at] if offer_uplift is None else offer_uplift[at]
        own_uplift = uplift[at, 0]
        uplift[at, 0] = np.where(np.isnan(own_uplift), predicted.pooled[at], own_uplift)
    return option, uplift


def describe_targeting(uplift: "UpliftModel") -> Targeting:
    """Describe the selection method for the draft."""
    same = ("why", "campaigns", "customers", "qini", "qini_low", "qini_high")
    return Targeting(
        by="uplift" if uplift.learner is not None else "risk",
        learner=uplift.name,
        offers=len(uplift.offers.models) if uplift.offers else 0,
        **{name: getattr(uplift, name) for name in same},
    )


def with_window(
    lake: "Lake", scores: "pd.DataFrame", as_of: datetime, horizon_days: int, window_days: int
) -> "pd.DataFrame":
    """Add the window's share of the horizon: of those who order, and of what one of them spends.

    Who orders often is likely to do so in the window, and spends a part of the horizon's sum. Who
    orders rarely may not, but then spends all of it. So the share of buyers is that of the purchase
    process, and the spend of all buyers is proportional to the time.
    """
    if window_days >= horizon_days or scores.empty:
        return scores

    everyone = buyers(lake, as_of, window=Window(horizon_days, None))
    soon, ever = (return_chance(everyone, days) for days in (window_days, horizon_days))
    time = window_days / horizon_days
    share = dict(zip(everyone.frame.customer_id, soon / ever.clip(1e-12), strict=True))
    chance = scores["customer_id"].map(share).astype(float).fillna(time).clip(time, 1)
    return scores.assign(window_chance=chance, window_spend=time / chance)


def prior_from_campaigns(
    session: Transaction,
    policy: Policy,
    unusable: Collection[str],
    further: Sequence[dict[str, Any]] = (),
) -> Prior:
    """Update the policy's prior of the effect with closed campaigns.

    Notes
    -----
    Normal prior and normal likelihood: precisions (1 / variance) add up. Ignored are ``unusable``
    campaigns (`uninformative_campaigns`, `campaigns_of_other_kinds`), and those with a sample-ratio
    mismatch or without a standard error. With few buyers, the estimated
    standard error is too small. It is bounded from below by the error with one more buyer and one
    more other customer per group (Agresti & Caffo 2000). The variance reduction of CUPED counts
    only with enough buyers, because θ overfits small groups.
    """
    mean, precision = policy.offer.uplift, policy.offer.uplift_sd**-2
    campaigns, simulated = 0, False
    is_closed = (Campaign.team_id == session.settings.team_id, Campaign.state == "closed")
    is_informative = Campaign.id.not_in(unusable)
    closed = select(Campaign.result).where(*is_closed, is_informative)
    results = session.scalars(closed.order_by(Campaign.id))
    for result in (*results, *further):
        effect = ((result or {}).get("effects") or {}).get("buyers") or {}
        error, sizes = effect.get("standard_error"), (result or {}).get("sample_ratio", {})
        if error is None or not sizes.get("believable"):
            continue
        weight = 1 / max(error**2, _variance(effect, sizes))
        mean = (mean * precision + effect["per_customer"] * weight) / (precision + weight)
        precision += weight
        campaigns += 1
        simulated = simulated or bool((result or {}).get("simulated"))
    return Prior(mean=mean, sd=precision**-0.5, campaigns=campaigns, simulated=simulated)


def campaigns_of_other_kinds(session: Transaction, kind: KindName) -> set[str]:
    """Return the team's campaigns of other kinds. Those of earlier versions are win-back."""
    own = func.coalesce(Campaign.body["kind"].as_string(), WIN_BACK)
    of_team = Campaign.team_id == session.settings.team_id
    return set(session.scalars(select(Campaign.id).where(of_team, own != kind)))


def _variance(effect: dict[str, float], sizes: dict[str, float]) -> float:
    """Variance of the difference in buyer shares.

    Adds one buyer and one other customer to each group.
    """
    arms = ("treated", "control")
    buyers = {arm: effect[f"{arm}_mean"] * sizes[arm] for arm in arms}
    shares = {arm: (buyers[arm] + 1) / (sizes[arm] + 2) for arm in arms}
    cut = effect["variance_cut"] if round(min(buyers.values())) >= MIN_BUYERS else 0.0
    return (1 - cut) * sum(share * (1 - share) / (sizes[arm] + 2) for arm, share in shares.items())
