"""Merge the reasons of a score into clauses that do not repeat each other.

Groups of correlated features form a family: silence, rhythm and number of orders all say how often
a customer orders. A family gives at most one clause per direction, so no fact appears twice. A
clause is a code with numbers; `retention.risk.sentence` puts it into words.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from retention.churn.explaining import facts
from retention.templating import LOWERS, RAISES

MIN_WEIGHT = 0.02  # log-odds; smaller weights are noise
TIMING = ("recency", "rhythm", "frequency", "trend")
FAMILIES: tuple[tuple[str, ...], ...] = (
    TIMING,
    ("spend",),
    ("breadth", "replenishment"),
    ("discounts",),
    ("intent",),
    ("response",),
    ("returns", "opinion"),
    ("contacts",),
    ("channel",),
    ("habits",),
    ("tenure",),
    ("season",),
)
# Families that a team can act on: a reminder, an offer, other items, a call.
ACTIONABLE = frozenset({group for family in FAMILIES[:7] for group in family})
SEVERAL = "several"  # code of a clause without a fact of its own
# Codes that tell of a change in the customer's own orders.
CHANGES = frozenset({facts.SILENT, "silent_share", "only_order", "orders_change", "last_gap"}) | {
    "spend_change"
}
FALLS = ("less_spend", "fewer_orders")  # than at the customer's own rate
_RECENT_ACTIVITY = frozenset({"activity"})


@dataclass(frozen=True, slots=True)
class Clause:
    """One part of a customer's sentence.

    `code`: kind of fact, such as ``silent``.
    `groups`: feature groups whose weights it sums; none if it is told without a weight.
    `weight`: in log-odds; positive raises the risk.
    `direction`: `retention.templating.RAISES` or `LOWERS`.
    """

    code: str
    values: facts.Values
    groups: tuple[str, ...]
    weight: float
    direction: str

    @property
    def is_actionable(self) -> bool:
        """Return whether a team can act on it."""
        return bool(ACTIONABLE & set(self.groups))

    def as_dict(self) -> dict[str, Any]:
        """Return the clause as a JSON object."""
        return {**asdict(self), "groups": list(self.groups), "weight": round(self.weight, 3)}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one customer's order pattern and risk.

    `silent_days`: since the last order.
    `usual_gap_days`: median gap between order days; NaN with a single one.
    `clauses`: in the order in which a sentence names them: raising, then lowering.
    """

    silent_days: float
    usual_gap_days: float
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class EvidenceTable:
    """Features and group weights of scored customers, from which evidence is made on demand."""

    frame: pd.DataFrame
    weight: Mapping[str, np.ndarray]
    typical: Mapping[str, float]
    horizon_days: int

    def of(self, customer_ids: Sequence[str]) -> dict[str, Evidence]:
        """Return the evidence of some customers, by id."""
        places = np.flatnonzero(self.frame["customer_id"].isin(list(customer_ids)).to_numpy())
        evidence = {}
        for row, place in zip(self.frame.iloc[places].to_dict("records"), places, strict=True):
            customer = facts.Customer(row, self.typical, self.horizon_days)
            weights = {group: float(values[place]) for group, values in self.weight.items()}
            clauses = clauses_of(customer, weights) or silence_of(customer)
            evidence[str(row["customer_id"])] = Evidence(
                float(row["recency_days"]), float(row["gap_median"]), clauses
            )
        return evidence


def clauses_of(customer: facts.Customer, weights: Mapping[str, float]) -> tuple[Clause, ...]:
    """Return a customer's clauses as `ordered` sorts them.

    A silence beyond every pause so far is told even if the model makes nothing of it.

    `weights`: group → log-odds.
    Returns: raising, then lowering. No two share a feature group.
    """
    # The silence comes first: what it implies, such as a low spend, is then left out.
    parts = sorted(
        _family_parts(weights), key=lambda part: (part[0][0] not in TIMING, -abs(part[1]))
    )
    clauses: list[Clause] = []
    shown: dict[str, set[str]] = {RAISES: set(), LOWERS: set()}
    is_told = any(groups[0] in TIMING and weight > 0 for groups, weight in parts)
    if not is_told and customer["recency_days"] > customer["gap_max"]:
        clauses = [clause for clause in silence_of(customer) if clause.code == facts.SILENT]
        shown[RAISES] |= facts.SILENCE_MEASURES if clauses else set()
    for direction in (RAISES, LOWERS):
        for groups, weight in parts:
            if (weight > 0) != (direction == RAISES):
                continue
            fact = _first_fact(customer, groups, direction, shown)
            if fact is not None:
                code, values, measures = fact
                shown[direction] |= measures
                clauses.append(Clause(code, values, groups, weight, direction))
    return ordered(clauses)


def silence_of(customer: facts.Customer) -> tuple[Clause, ...]:
    """Return the silence as a clause without weight, for customers of whom the model tells little.

    It is what a person asks first; "several small signs" would tell nothing.
    """
    for raises, direction in ((True, RAISES), (False, LOWERS)):
        for fact in (facts.silence, facts.on_time, facts.only_order):
            if stated := fact(customer, raises):
                return (Clause(*stated, (), 0.0, direction),)
    return ()


def ordered(clauses: Sequence[Clause]) -> tuple[Clause, ...]:
    """Return clauses with raising ones first, then actionable ones, then by weight.

    The silence against the customer's own rhythm leads its direction, and the season ends it: the
    season is the same for every customer.
    """

    def rank(clause: Clause) -> tuple[bool, bool, bool, bool, float]:
        return (
            clause.direction != RAISES,
            clause.code != facts.SILENT,
            clause.code == facts.SEASON,
            not clause.is_actionable,
            -abs(clause.weight),
        )

    return tuple(sorted(clauses, key=rank))


def _family_parts(weights: Mapping[str, float]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield the groups of each family that agree in direction, and the sum of their weights."""
    for family in FAMILIES:
        for sign in (1, -1):
            groups = tuple(
                group for group in family if sign * weights.get(group, 0.0) >= MIN_WEIGHT
            )
            if groups:
                yield groups, sum(weights[group] for group in groups)


def _first_fact(
    customer: facts.Customer, groups: tuple[str, ...], direction: str, shown: Mapping[str, set[str]]
) -> tuple[str, facts.Values, frozenset[str]] | None:
    """Return code, values and measures of the first fact that adds something new.

    Recent activity may appear once for and once against the risk; other measures appear once.
    """
    other = shown[LOWERS if direction == RAISES else RAISES] - _RECENT_ACTIVITY
    for code, values, measures in _facts(customer, groups, direction == RAISES):
        if not measures & (shown[direction] | other):
            return code, values, measures
    return None


def _facts(
    customer: facts.Customer, groups: tuple[str, ...], raises: bool
) -> Iterator[tuple[str, facts.Values, frozenset[str]]]:
    for fact in facts.FACTS:
        told_of = (fact.groups | fact.also) & set(groups)
        if told_of and (stated := fact.state(customer, raises)) is not None:
            yield *stated, fact.measures
    for group in groups:
        for amount in facts.supporting_amounts(group, customer, raises):
            values: facts.Values = {
                "amount": customer[amount.column],
                "typical": float(customer.typical[amount.column]),
                "horizon": customer.horizon_days,
            }
            yield amount.column, values, _amount_measures(group, amount.column)


def _amount_measures(group: str, column: str) -> frozenset[str]:
    if group == "frequency" or column in ("spend_2h", "spend_all"):
        return frozenset({"activity"})
    return frozenset({column})
