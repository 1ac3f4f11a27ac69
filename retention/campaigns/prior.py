"""What is believed of an offer's effect before a campaign: the policy's prior, sharpened by what campaigns really did."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.campaigns.closing import teaching_nothing
from retention.campaigns.measurement import LEAST_BUYERS
from retention.campaigns.spec import Prior
from retention.db.tables import Campaign
from retention.risk.policy import Policy
from retention.settings import Settings


def learnt_prior(session: Session, settings: Settings, policy: Policy) -> Prior:
    """Combine the policy's prior with every measured campaign, each weighted by its precision.

    Notes
    -----
    Normal prior, normal likelihood: precisions (1/variance) add up. A campaign whose sample-ratio check failed, or
    that was too small for a standard error, says nothing. Where few bought the standard error flatters itself (where
    nobody did it is naught); it is at least that with one buyer more and one other customer more in each arm
    (Agresti & Caffo 2000), less what CUPED took away where enough bought for that to be known: θ is fitted to the few
    as well, and where a few regulars are all who bought it seems to leave no variance at all.
    """
    mean, precision, campaigns, simulated = (
        policy.offer.uplift,
        policy.offer.uplift_sd**-2,
        0,
        False,
    )
    results = session.scalars(
        select(Campaign.result)
        .where(
            Campaign.team_id == settings.team_id,
            Campaign.state == "closed",
            Campaign.id.not_in(teaching_nothing(session, settings)),
        )
        .order_by(Campaign.id)
    )
    for result in results:
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
    """Of the difference of the arms' shares of buyers, as if each arm had one buyer and one other customer more."""
    arms = ("treated", "control")
    buyers = {arm: effect[f"{arm}_mean"] * sizes[arm] for arm in arms}
    shares = {arm: (buyers[arm] + 1) / (sizes[arm] + 2) for arm in arms}
    cut = effect["variance_cut"] if round(min(buyers.values())) >= LEAST_BUYERS else 0.0
    return (1 - cut) * sum(share * (1 - share) / (sizes[arm] + 2) for arm, share in shares.items())
