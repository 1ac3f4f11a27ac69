"""Select the reasons of a score for a tier, and for the policy."""

from collections.abc import Iterable, Mapping
from typing import Any

from retention.templating import LOWERS, RAISES, direction

MAX_SHOWN = 3  # reasons of one customer
_DIRECTION = {"high": RAISES, "low": LOWERS}


def reasons_for_tier(reasons: Iterable[Mapping[str, Any]], tier: str) -> list[dict[str, Any]]:
    """Return the reasons that agree with a tier.

    High risk has causes that raise the risk, low risk those that lower it. Medium risk has the
    strongest of both.

    Parameters
    ----------
    reasons : iterable of mapping
        All reasons of a customer, as `retention.churn.score` returns them.
    tier : str
        high, medium or low.

    Returns
    -------
    list of dict
        ``{"feature", "text", "weight", "direction"}``, in the order given.

    Examples
    --------
    >>> late = {"feature": "recency", "text": "no order for 31 days", "weight": 0.9}
    >>> often = {"feature": "frequency", "text": "20 orders ever", "weight": -0.4}
    >>> [reason["text"] for reason in reasons_for_tier([late, often], "low")]
    ['20 orders ever']
    """
    directed = [{**reason, "direction": direction(reason)} for reason in reasons]
    if tier in _DIRECTION:
        fitting = [reason for reason in directed if reason["direction"] == _DIRECTION[tier]]
        return fitting[:MAX_SHOWN]
    with_weight = [reason for reason in directed if reason["weight"]] or directed
    strongest = sorted(with_weight, key=lambda reason: -abs(reason["weight"]))[:MAX_SHOWN]
    return [reason for reason in directed if reason in strongest][:MAX_SHOWN]


def policy_features(reasons: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the features of the reasons that a policy decides by.

    These are the causes that raise the risk, of whatever tier. Without one they are all.

    Parameters
    ----------
    reasons : iterable of mapping
        All reasons of a customer.
    """
    listed = list(reasons)
    raising = [reason for reason in listed if direction(reason) == RAISES]
    return [str(reason["feature"]) for reason in raising or listed]
