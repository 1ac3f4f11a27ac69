"""Map churn probabilities to risk tiers by the policy's thresholds."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from retention.risk.policy import Policy

TIERS = ("high", "medium", "low")


def tier_of(probability: float, policy: "Policy") -> str:
    """Return the tier of one churn probability; a threshold belongs to the higher tier."""
    if probability >= policy.tiers.high:
        return "high"
    return "medium" if probability >= policy.tiers.medium else "low"


def tiers_of(probabilities: "np.ndarray", policy: "Policy") -> "np.ndarray":
    """Return the tier of each of (n,) churn probabilities, as an object array of names."""
    import numpy as np

    high, medium = probabilities >= policy.tiers.high, probabilities >= policy.tiers.medium
    return np.where(high, "high", np.where(medium, "medium", "low")).astype(object)
