"""Select the reasons of a score for a tier, and for the policy."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from retention.churn.explaining.clauses import CHANGES, FALLS, Clause
from retention.churn.explaining.facts import SEASON
from retention.risk.sentence import long_text, sentence
from retention.templating import LOWERS, RAISES, direction, why

MAX_SHOWN = 3  # reasons of one customer
LISTED = "listed"  # told instead of the tier where the list is of any tier
_DIRECTION = {"high": RAISES, "low": LOWERS, "lapsed": RAISES, LISTED: RAISES}


def reasons_for_tier(reasons: Iterable[Mapping[str, Any]], tier: str) -> list[dict[str, Any]]:
    """Return the reasons that agree with a tier.

    High risk has causes that raise the risk, low risk those that lower it. Medium risk has the
    strongest of both, with the season last.

    `reasons`: all reasons of a customer, as `retention.churn.score` returns them.
    Returns: ``{"feature", "text", "weight", "direction"}``, in the order given.

    Examples
    --------
    >>> late = {"feature": "recency", "text": "no order for 31 days", "weight": 0.9}
    >>> often = {"feature": "frequency", "text": "20 orders ever", "weight": -0.4}
    >>> [reason["text"] for reason in reasons_for_tier([late, often], "low")]
    ['20 orders ever']
    """
    directed = [_directed(reason) for reason in reasons]
    if tier in _DIRECTION:
        fitting = [reason for reason in directed if reason["direction"] == _DIRECTION[tier]]
        return fitting[:MAX_SHOWN]
    with_weight = [reason for reason in directed if reason["weight"]] or directed
    strongest = sorted(with_weight, key=lambda reason: -abs(reason["weight"]))[:MAX_SHOWN]
    shown = [reason for reason in directed if reason in strongest][:MAX_SHOWN]
    return sorted(shown, key=lambda reason: reason["feature"] == SEASON)


def _directed(reason: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: value for name, value in reason.items() if name != "clauses"}
    return {**own, "direction": direction(reason)}


def with_fall(
    clauses: Sequence[Clause], usual: float, expected: float, horizon_days: int, *, priced: bool
) -> tuple[Clause, ...]:
    """Return clauses that begin with what the customer is listed for: less than usual.

    A silence, or another change in the customer's own orders, tells it already.
    """
    is_told = any(clause.direction == RAISES and clause.code in CHANGES for clause in clauses)
    digits = 0 if priced else 1
    if is_told or round(usual, digits) <= round(expected, digits):
        return tuple(clauses)
    values = {"usual": usual, "expected": expected, "days": horizon_days}
    return (Clause(FALLS[not priced], values, ("trend",), 0.0, RAISES), *clauses)


def listed_reasons(
    reasons: Iterable[Mapping[str, Any]], clauses: Sequence[Clause]
) -> list[dict[str, Any]]:
    """Return why a customer is on a list of any tier."""
    raising = reasons_for_tier(reasons, LISTED)
    if not clauses or clauses[0].code not in FALLS:
        return raising
    fall = {"feature": "trend", "text": long_text(clauses[0]), "weight": 0.0, "direction": RAISES}
    return [fall, *raising][:MAX_SHOWN]


def policy_features(reasons: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the features of the reasons that a policy decides by.

    These are the causes that raise the risk, of whatever tier. Without one they are all.
    """
    listed = list(reasons)
    raising = [reason for reason in listed if direction(reason) == RAISES]
    return [str(reason["feature"]) for reason in raising or listed]


def with_clauses(
    reasons: Sequence[Mapping[str, Any]], clauses: Sequence[Clause]
) -> list[dict[str, Any]]:
    """Return reasons to be stored together with the clauses of the customer's sentence.

    The first reason carries them, so that scores without clauses are read in the same way.
    """
    stored = [dict(reason) for reason in reasons]
    if stored and clauses:
        stored[0]["clauses"] = [clause.as_dict() for clause in clauses]
    return stored


def stored_sentence(reasons: Sequence[Mapping[str, Any]], tier: str) -> str:
    """Return the sentence of a customer whose reasons were stored.

    `reasons`: as `with_clauses` returns them. Without clauses, as in older scores, the reasons of
    the tier are listed.
    `tier`: high, medium, low or `LISTED`.

    Examples
    --------
    >>> late = {"feature": "recency", "text": "no order for 31 days", "weight": 0.9}
    >>> stored_sentence([late], "high")
    'raises the risk: no order for 31 days'
    """
    clauses = [
        Clause(**{**clause, "groups": tuple(clause["groups"])})
        for reason in reasons[:1]
        for clause in reason.get("clauses", ())
    ]
    return sentence(clauses, tier) if clauses else why(reasons_for_tier(reasons, tier))
