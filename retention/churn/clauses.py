"""Merge the reasons of a score into clauses that do not repeat each other.

Groups of correlated features form a family: silence, rhythm and number of orders all say how often
a customer orders. A family gives at most one clause per direction, so no fact appears twice. A
clause is a code with numbers; `retention.risk.sentence` puts it into words.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
import pandas as pd

from retention.churn import facts
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
    ("channel",),
    ("habits",),
    ("tenure",),
    ("season",),
)
# Families that a team can act on: a reminder, an offer, other items, a call.
ACTIONABLE = frozenset({*TIMING, "spend", "breadth", "replenishment", "discounts"}) | {
    "intent",
    "response",
    "returns",
    "opinion",
}
SEVERAL = "several"  # code of a clause without a fact of its own
SILENT, SEASON = "silent", "season"
# Codes that tell of a change in the customer's own orders.
CHANGES = frozenset({SILENT, "silent_share", "only_order", "orders_change", "last_gap"}) | {
    "spend_change"
}
FALLS = ("less_spend", "fewer_orders")  # than at the customer's own rate
_RECENT_ACTIVITY = frozenset({"activity"})

Values = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Clause:
    """One part of a customer's sentence.

    Parameters
    ----------
    code : str
        Kind of fact, such as ``silent``.
    values : mapping
        Its numbers, as they are shown.
    groups : tuple of str
        Feature groups whose weights it sums; none if it is told without a weight.
    weight : float
        In log-odds; positive raises the risk.
    direction : str
        `retention.templating.RAISES` or `LOWERS`.
    """

    code: str
    values: Values
    groups: tuple[str, ...]
    weight: float
    direction: str

    @property
    def is_actionable(self) -> bool:
        """Return whether a team can act on it."""
        return bool(ACTIONABLE & set(self.groups))

    def as_dict(self) -> dict[str, Any]:
        """Return the clause as a JSON object."""
        return {
            "code": self.code,
            "values": dict(self.values),
            "groups": list(self.groups),
            "weight": round(self.weight, 3),
            "direction": self.direction,
        }


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one customer's order pattern and risk.

    Parameters
    ----------
    silent_days : float
        Since the last order.
    usual_gap_days : float
        Median gap between order days; NaN with a single one.
    clauses : tuple of Clause
        In the order in which a sentence names them: raising, then lowering.
    """

    silent_days: float
    usual_gap_days: float
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class EvidenceTable:
    """Features and group weights of scored customers, from which evidence is made on demand.

    Parameters
    ----------
    frame : pandas.DataFrame
        (n,) customers with their features.
    weight : mapping
        Group → (n,) log-odds.
    typical : mapping
        Feature → value of the median customer.
    horizon_days : int
    """

    frame: pd.DataFrame
    weight: Mapping[str, np.ndarray]
    typical: Mapping[str, float]
    horizon_days: int

    def of(self, customer_ids: Sequence[str]) -> dict[str, Evidence]:
        """Return the evidence of some customers, by id.

        Parameters
        ----------
        customer_ids : sequence of str
            Unknown ids are left out.
        """
        places = np.flatnonzero(self.frame["customer_id"].isin(list(customer_ids)).to_numpy())
        evidence = {}
        for row, place in zip(self.frame.iloc[places].to_dict("records"), places, strict=True):
            customer = facts.Customer(row, self.typical, self.horizon_days)
            weights = {group: float(values[place]) for group, values in self.weight.items()}
            evidence[str(row["customer_id"])] = Evidence(
                float(row["recency_days"]),
                float(row["gap_median"]),
                clauses_of(customer, weights) or silence_of(customer),
            )
        return evidence


def clauses_of(customer: facts.Customer, weights: Mapping[str, float]) -> tuple[Clause, ...]:
    """Return a customer's clauses as `ordered` sorts them.

    A silence beyond every pause so far is told even if the model makes nothing of it.

    Parameters
    ----------
    customer : facts.Customer
    weights : mapping
        Group → log-odds.

    Returns
    -------
    tuple of Clause
        Raising, then lowering. No two share a feature group.
    """
    # The silence comes first: what it implies, such as a low spend, is then left out.
    parts = sorted(
        _family_parts(weights), key=lambda part: (part[0][0] not in TIMING, -abs(part[1]))
    )
    clauses: list[Clause] = []
    shown: dict[str, set[str]] = {RAISES: set(), LOWERS: set()}
    is_told = any(groups[0] in TIMING and weight > 0 for groups, weight in parts)
    if not is_told and customer["recency_days"] > customer["gap_max"]:
        clauses = [clause for clause in silence_of(customer) if clause.code == SILENT]
        shown[RAISES] |= _SILENCE_MEASURES if clauses else set()
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
        for fact in (_silence, _on_time, _only_order):
            if stated := fact(customer, raises):
                return (Clause(*stated, (), 0.0, direction),)
    return ()


def ordered(clauses: Sequence[Clause]) -> tuple[Clause, ...]:
    """Return clauses with raising ones first, then actionable ones, then by weight.

    The silence against the customer's own rhythm leads its direction, and the season ends it: the
    season is the same for every customer.
    """
    return tuple(
        sorted(
            clauses,
            key=lambda clause: (
                clause.direction != RAISES,
                clause.code != SILENT,
                clause.code == SEASON,
                not clause.is_actionable,
                -abs(clause.weight),
            ),
        )
    )


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
    customer: facts.Customer,
    groups: tuple[str, ...],
    direction: str,
    shown: Mapping[str, set[str]],
) -> tuple[str, Values, frozenset[str]] | None:
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
) -> Iterator[tuple[str, Values, frozenset[str]]]:
    for of_groups, measures, fact in _FACTS:
        if of_groups & set(groups) and (stated := fact(customer, raises)) is not None:
            yield *stated, measures
    for group in groups:
        amounts = [
            amount for amount in facts.amounts_of(group) if amount.supports(customer, raises)
        ]
        for amount in sorted(amounts, key=lambda amount: -amount.difference(customer)):
            values: Values = {
                "amount": customer[amount.column],
                "typical": float(customer.typical[amount.column]),
                "horizon": customer.horizon_days,
            }
            yield amount.column, values, _amount_measures(group, amount.column)


def _amount_measures(group: str, column: str) -> frozenset[str]:
    if group == "frequency" or column in ("spend_2h", "spend_all"):
        return frozenset({"activity"})
    return frozenset({column})


Stated = tuple[str, Values] | None


def _silence(customer: facts.Customer, raises: bool) -> Stated:
    """Compare a long silence with the customer's own gaps."""
    if not raises or not customer.knows("gap_median") or not facts.is_late(customer.row):
        return None
    longest = customer["gap_max"]
    return SILENT, {
        "days": float(np.floor(customer["recency_days"])),
        "usual": facts.shown_gap(customer["gap_median"]),
        "longest": None if isnan(longest) else facts.shown_gap(longest),
    }


def _on_time(customer: facts.Customer, raises: bool) -> Stated:
    if raises or not customer.knows("gap_median") or not facts.is_early(customer.row):
        return None
    days, usual = np.floor(customer["recency_days"]), facts.shown_gap(customer["gap_median"])
    return "on_time", {"days": float(days), "usual": usual}


def _only_order(customer: facts.Customer, raises: bool) -> Stated:
    """Compare the silence after a single order with the shop's, if that is known."""
    days, typical = customer["recency_days"], customer.typical.get("recency_days", np.nan)
    if not isnan(customer["gap_median"]) or isnan(days):
        return None
    if isnan(typical):
        return ("only_order", {"days": float(np.floor(days)), "typical": None}) if raises else None
    if np.floor(days) == np.floor(typical) or (days > typical) != raises:
        return None
    code = "only_order" if raises else "only_order_recent"
    return code, {"days": float(np.floor(days)), "typical": float(np.floor(typical))}


def _within_pauses(customer: facts.Customer, raises: bool) -> Stated:
    """A longer pause than the silence now did not end in churn."""
    if raises or not customer.knows("gap_max", "gap_median") or not facts.is_late(customer.row):
        return None
    days, longest = np.floor(customer["recency_days"]), round(customer["gap_max"])
    if days >= longest:
        return None
    return "within_pauses", {"days": float(days), "longest": longest}


def _recent_order(customer: facts.Customer, raises: bool) -> Stated:
    days, typical = customer["recency_days"], customer.typical.get("recency_days", np.nan)
    if raises or isnan(typical) or not np.floor(days) < np.floor(typical):
        return None
    return "recent", {"days": float(np.floor(days)), "typical": float(np.floor(typical))}


def _fewer_orders(customer: facts.Customer, raises: bool) -> Stated:
    """Compare the last H, or 2H, with as many days before: the customer's own past."""
    for now, both, days in (
        (customer["orders_1h"], customer["orders_2h"], customer.horizon_days),
        (customer["orders_2h"], customer["orders_4h"], 2 * customer.horizon_days),
    ):
        before = both - now
        if not isnan(before) and now != before and (now < before) == raises:
            return "orders_change", {"now": now, "before": before, "days": days}
    return None


def _usual_gap(customer: facts.Customer, raises: bool) -> Stated:
    """Compare the usual gap with the shop's: rare orders raise the risk."""
    usual, typical = customer["gap_median"], customer.typical.get("gap_median", np.nan)
    if not facts.differs(usual, typical) or facts.shown_gap(usual) == facts.shown_gap(typical):
        return None
    if (usual > typical) != raises:
        return None
    return "usual_gap", {"usual": facts.shown_gap(usual), "typical": facts.shown_gap(typical)}


def _last_gap(customer: facts.Customer, raises: bool) -> Stated:
    if not customer.knows("gap_last", "gap_median"):
        return None
    last, usual = facts.shown_gap(customer["gap_last"]), facts.shown_gap(customer["gap_median"])
    if last == usual or (last > usual) != raises:
        return None
    return "last_gap", {"last": last, "usual": usual}


def _pauses(customer: facts.Customer, raises: bool) -> Stated:
    if not customer.knows("gap_median", "gap_max"):
        return None
    usual, longest = customer["gap_median"], customer["gap_max"]
    shown: Values = {"usual": facts.shown_gap(usual), "longest": round(longest)}
    if raises and longest >= facts.LONG_PAUSE * usual and round(longest) > facts.shown_gap(usual):
        return "irregular", shown
    return ("regular", shown) if not raises and round(longest) == round(usual) else None


def _one_order_day(customer: facts.Customer, raises: bool) -> Stated:
    return ("one_day", {}) if raises and isnan(customer["gap_median"]) else None


def _spend_change(customer: facts.Customer, raises: bool) -> Stated:
    now, before = customer["spend_2h"], customer["spend_4h"] - customer["spend_2h"]
    if isnan(before) or round(now) == round(before) or (now < before) != raises:
        return None
    return "spend_change", {"now": now, "before": before, "days": 2 * customer.horizon_days}


def _overdue_items(customer: facts.Customer, raises: bool) -> Stated:
    if not customer.knows("overdue_share", "regular_items"):
        return None
    items = customer["regular_items"]
    overdue = round(customer["overdue_share"] * items)
    if raises != bool(overdue):
        return None
    return "overdue_items", {"overdue": overdue, "items": items}


def _no_regular_item(customer: facts.Customer, raises: bool) -> Stated:
    if not raises or not facts.lacks_regular_item(customer):
        return None
    return "no_regular_item", {"days": 4 * customer.horizon_days}


def _rating(customer: facts.Customer, raises: bool) -> Stated:
    mean, last = customer["rating_mean"], customer["rating_last"]
    if isnan(mean) or f"{mean:.1f}" == f"{last:.1f}" or (last < mean) != raises:
        return None
    return "rating", {"mean": mean, "last": last}


def _season(customer: facts.Customer, raises: bool) -> Stated:
    change = facts.season_change(customer, raises)
    return None if change is None else (SEASON, {"change": change, "days": customer.horizon_days})


def _fact(
    groups: str, measures: str, fact: Callable[[facts.Customer, bool], Stated]
) -> tuple[frozenset[str], frozenset[str], Callable[[facts.Customer, bool], Stated]]:
    return frozenset(groups.split()), frozenset(measures.split()), fact


_SILENCE_MEASURES = {"silence", "usual", "longest", "activity"}
# Feature groups, measures that the words show, fact. The best fact of a family comes first.
_FACTS = (
    _fact("recency rhythm", " ".join(_SILENCE_MEASURES), _silence),
    _fact("recency rhythm", "silence usual", _on_time),
    _fact("recency rhythm", "silence usual activity", _only_order),
    _fact("recency rhythm", "silence longest", _within_pauses),
    _fact("trend", "activity", _fewer_orders),
    _fact("rhythm recency", "usual", _usual_gap),
    _fact("recency", "silence", _recent_order),
    _fact("rhythm", "usual last", _last_gap),
    _fact("rhythm", "usual longest", _pauses),
    _fact("recency rhythm", "usual", _one_order_day),
    _fact("spend", "activity", _spend_change),
    _fact("replenishment", "regular_items", _overdue_items),
    _fact("replenishment", "regular_items", _no_regular_item),
    _fact("opinion", "rating_mean", _rating),
    _fact("season", "season", _season),
)
