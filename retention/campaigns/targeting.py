"""Whom a campaign is for: who earns most under the budget by what past campaigns teach, else who has most to lose."""

from typing import TYPE_CHECKING

from retention.campaigns import offers
from retention.campaigns.body import Targeting
from retention.risk.policy import Policy

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from retention.uplift.experiments import Uplift


def by_profit(
    customers: "pd.DataFrame", uplift: "np.ndarray", policy: Policy, margin: float
) -> "pd.DataFrame":
    """The customers whose offers earn most under the policy's budget and largest audience, most profitable first.

    Parameters
    ----------
    customers : DataFrame
        ``churn_probability``, ``expected_value`` and ``rule`` of (n,) who may be written to.
    uplift : ndarray of shape (n,)
        What the offer adds to P(order).

    Returns
    -------
    DataFrame
        Those chosen, with ``uplift``. Only the treated cost anything, so a budget reaches as many more as are held out.
    """
    import numpy as np

    from retention.uplift.profit import expected_cost, incremental_profit
    from retention.uplift.targeting import Limit, choose

    stays = 1 - customers["churn_probability"].to_numpy(float)
    value = customers["expected_value"].fillna(0).clip(lower=0).to_numpy(float)
    rules, name = {rule.name: rule for rule in policy.rules}, customers["rule"]
    contacts = {key: offers.contact(rule, policy) for key, rule in rules.items()}
    costs = {
        "discount": name.map({key: rule.discount for key, rule in rules.items()}).to_numpy(float) * value
        + name.map({key: offers.face(rule, policy) for key, rule in rules.items()}).to_numpy(float),
        "redemption": policy.offer.redemption,
        "contact": name.map(contacts).astype(float).fillna(policy.offer.contact_cost).to_numpy(float),
    }
    profit = incremental_profit(stays, uplift, value, margin=margin, **costs)
    spent = (1 - policy.campaign.holdout) * expected_cost(stays, uplift, **costs)
    limits = [
        Limit(np.ones((len(profit), 1)), policy.campaign.max_audience),
        Limit(spent[:, None], policy.campaign.budget),
    ]
    chosen = choose(profit[:, None], limits).offer == 0
    kept = customers.assign(uplift=uplift, profit=profit)[chosen].sort_values(
        "profit", ascending=False, kind="stable"
    )
    return kept.drop(columns="profit").reset_index(drop=True)


def told(uplift: "Uplift | None") -> Targeting:
    """What the draft says of how its audience was chosen."""
    if uplift is None:
        return Targeting(by="risk", why="none")
    return Targeting(
        by="uplift" if uplift.learner is not None else "risk", why=uplift.why, campaigns=uplift.campaigns,
        customers=uplift.customers, learner=uplift.name, qini=uplift.qini, qini_low=uplift.qini_low,
        qini_high=uplift.qini_high,
    )  # fmt: skip
