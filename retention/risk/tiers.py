"""Risk tiers: a churn probability becomes high, medium or low by the policy's thresholds."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from retention.risk.policy import Policy

TIERS = ("high", "medium", "low")


def tier_of(probability: float, policy: "Policy") -> str:
    """The tier of one churn probability; a threshold belongs to the tier it opens."""
    if probability >= policy.tiers.high:
        return "high"
    return "medium" if probability >= policy.tiers.medium else "low"


def tiers_of(probabilities: "np.ndarray", policy: "Policy") -> "np.ndarray":
    """The tier of each of (n,) churn probabilities, as an object array of names."""
    import numpy as np

    high, medium = probabilities >= policy.tiers.high, probabilities >= policy.tiers.medium
    return np.where(high, "high", np.where(medium, "medium", "low")).astype(object)
