"""Rank customers by expected profit within the budget."""

from typing import TYPE_CHECKING

from retention.campaigns import offers
from retention.campaigns.assignment import control_size
from retention.campaigns.audience import Audience
from retention.campaigns.spec import Targeting, is_within_budget
from retention.campaigns.window_orders import orders_in_window
from retention.risk.policy import Policy

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from retention.uplift.past_campaigns import UpliftModel, UpliftPrediction


def select_by_profit(
    customers: "pd.DataFrame", predicted: "UpliftPrediction", policy: Policy, margin: float
) -> Audience:
    """Select the most profitable offer per customer.

    Parameters
    ----------
    customers : DataFrame
        ``churn_probability``, ``expected_value``, ``tier`` and ``rule`` of n eligible customers.
    predicted : UpliftPrediction
        Uplift in P(order) by offer.
    policy : Policy
        The shop's policy.
    margin : float
        Margin as a share of sales.

    Returns
    -------
    Audience
        Selected customers, most profitable first, with the ``rule`` of the best offer and its
        ``uplift``.

    Notes
    -----
    Only treated customers cost money, so the budget covers proportionally more customers than are
    treated. Only offers that past campaigns tell apart compete with the policy's own choice. Among
    offers without a difference, the cheapest would always win.
    """
    import numpy as np

    from retention.uplift.targeting import Limit, allocate_offers, expected_cost, incremental_profit

    option, uplift = _options(customers, predicted, policy)
    p_order, value = (each[:, None] for each in orders_in_window(customers))
    uplift = np.clip(uplift, -p_order, 1 - p_order)  # P(order) stays in [0, 1]
    rules, costs = policy.rules, _costs(policy, option, value)
    incremental = incremental_profit(p_order, uplift, value, margin=margin, **costs)
    profit = np.where(np.isnan(uplift), -np.inf, incremental)
    expected_costs = (1 - policy.campaign.holdout) * np.nan_to_num(
        expected_cost(p_order, uplift, **costs)
    )
    limits = [
        Limit(np.ones(profit.shape), policy.campaign.max_audience),
        Limit(expected_costs, policy.campaign.budget),
    ]
    chosen = allocate_offers(profit, limits).offer
    selected = np.flatnonzero(chosen >= 0)
    best = chosen[selected]
    audience = customers.iloc[selected].assign(
        rule=np.array([rule.name for rule in rules], dtype=object)[option[selected, best]],
        uplift=uplift[selected, best],
        profit=profit[selected, best],
    )
    audience = audience.sort_values("profit", ascending=False, kind="stable")
    profitable, maximum = (
        int((profit.max(axis=1, initial=0) > 0).sum()),
        policy.campaign.max_audience,
    )
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

    Parameters
    ----------
    customers : DataFrame
        ``churn_probability, expected_value, tier, rule``, optionally ``uplift``; most important
        first.
    policy : Policy
        The shop's policy.
    mean : float
        Assumed uplift in P(order) if the column ``uplift`` is missing.

    Returns
    -------
    int
    """
    import numpy as np

    from retention.uplift.targeting import expected_cost

    option = (
        customers["rule"].map({rule.name: at for at, rule in enumerate(policy.rules)}).to_numpy(int)
    )
    p_order, value = orders_in_window(customers)
    uplift = (
        customers["uplift"].to_numpy(float)
        if "uplift" in customers
        else np.full(len(customers), mean)
    )
    # As in the knapsack, but a negative uplift does not reduce the cost.
    cumulative_costs = np.cumsum(
        expected_cost(p_order, uplift.clip(min=0), **_costs(policy, option, value))
    )
    counts = np.arange(1, len(customers) + 1)
    tier_sizes = [(customers["tier"] == tier).cumsum() for tier in customers["tier"].unique()]
    held_out = sum(
        control_size(number.to_numpy(int), policy.campaign.holdout) for number in tier_sizes
    )
    affordable = np.flatnonzero(
        is_within_budget(cumulative_costs * (counts - held_out) / counts, policy.campaign.budget)
    )
    return int(affordable[-1]) + 1 if len(affordable) else 0


def _costs(policy: Policy, option: "np.ndarray", value: "np.ndarray") -> "dict[str, np.ndarray]":
    """Arguments of `expected_cost` by rule index and value."""
    import numpy as np

    rules, usual = policy.rules, policy.offer.contact_cost
    contacts = [offers.contact_cost(rule, policy) for rule in rules]
    return {
        "discount": np.array([rule.discount for rule in rules])[option] * value
        + np.array([offers.money_off(rule, policy) for rule in rules])[option],
        "redemption": np.array(policy.offer.redemption),
        "contact": np.array([usual if cost is None else cost for cost in contacts])[option],
    }


def _options(
    customers: "pd.DataFrame", predicted: "UpliftPrediction", policy: Policy
) -> "tuple[np.ndarray, np.ndarray]":
    """Allowed offers per customer and their uplift.

    Both arrays have shape (n, most offers of one customer). Offers are indices into the policy's
    rules, the customer's own first. Uplift is NaN in unused slots.
    """
    import numpy as np

    from retention.uplift.offer_effects import offer_kind

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


def describe_targeting(uplift: "UpliftModel | None") -> Targeting:
    """Describe the selection method for the draft."""
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
