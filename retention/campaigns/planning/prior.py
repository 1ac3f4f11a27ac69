"""Combine the policy's prior with measured campaigns."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from retention.campaigns.lifecycle.closing import uninformative_campaigns
from retention.campaigns.lifecycle.spec import Prior
from retention.campaigns.measurement.effects import MIN_BUYERS
from retention.db import Transaction
from retention.db.tables import Campaign
from retention.risk.policy import Policy


def prior_from_campaigns(
    session: Transaction, policy: Policy, further: Sequence[dict[str, Any]] = ()
) -> Prior:
    """Update the policy's prior of the effect with closed campaigns.

    Notes
    -----
    Normal prior and normal likelihood: precisions (1 / variance) add up. Ignored are
    `uninformative_campaigns`, and campaigns with a sample-ratio mismatch or without a standard
    error. With few buyers, the estimated
    standard error is too small. It is bounded from below by the error with one more buyer and one
    more other customer per group (Agresti & Caffo 2000). The variance reduction of CUPED counts
    only with enough buyers, because θ overfits small groups.
    """
    mean, precision = policy.offer.uplift, policy.offer.uplift_sd**-2
    campaigns, simulated = 0, False
    is_closed = (Campaign.team_id == session.settings.team_id, Campaign.state == "closed")
    is_informative = Campaign.id.not_in(uninformative_campaigns(session))
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


def _variance(effect: dict[str, float], sizes: dict[str, float]) -> float:
    """Variance of the difference in buyer shares.

    Adds one buyer and one other customer to each group.
    """
    arms = ("treated", "control")
    buyers = {arm: effect[f"{arm}_mean"] * sizes[arm] for arm in arms}
    shares = {arm: (buyers[arm] + 1) / (sizes[arm] + 2) for arm in arms}
    cut = effect["variance_cut"] if round(min(buyers.values())) >= MIN_BUYERS else 0.0
    return (1 - cut) * sum(share * (1 - share) / (sizes[arm] + 2) for arm, share in shares.items())
