"""Score by rules if there is no model.

Rules use ranks of recency and frequency. A rank is not a probability; outputs carry
``"model_version": "rules"``.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from retention.churn.clauses import Clause, Evidence, clauses_of, ordered
from retention.churn.facts import (
    Customer,
    days_text,
    is_early,
    is_late,
    silence_text,
    stored_reason,
)
from retention.churn.lost_margin import list_columns, return_chance
from retention.churn.population import buyers, expected_spend, next_order
from retention.churn.training_set import MIN_BUYERS
from retention.features.order_rhythm import order_rhythm
from retention.templating import LOWERS, RAISES, count, percent
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake import Lake

VERSION = "rules"
# Only the longest silence reaches `high`, even with many orders.
RECENCY, FREQUENCY = 0.5, 0.12
MOST = 0.5  # share of the active customers above which a difference from them is a reason
REASON_COLUMNS = ["recency_days", "gap_median", "orders_all"]
WITHIN_USUAL_GAP = 3  # highest rank of a silence that is usual for the customer


def score(
    lake: "Lake",
    as_of: datetime,
    *,
    horizon_days: int = 28,
    active_within_days: int | None = 56,
    customer_ids: Collection[str] | None = None,
    with_reasons: bool = True,
) -> tuple[pd.DataFrame, int]:
    """Score customers by RFM quintiles.

    Returns the columns of `retention.churn.score`, and the number of buyers.

    The churn score is ``0.5 · (R − 1) / 4 + 0.12 · (5 − F) / 4``; R = 5 is the longest silence, F =
    5 the most orders. Ranks are among active customers. ``customer_ids`` that are not active are
    ranked among them, too, so a customer's score equals that of the sweep. A longer silence than
    all active customers gives the last quintile.

    Somebody is always the most silent, also in a shop where all is well. So R is at most the rank
    of the silence among the shop's gaps between orders (`OrderRhythm.rank_days`), and at most 3 for
    a silence within the customer's own usual gap.

    Parameters
    ----------
    lake : Lake
        Source of events.
    as_of : datetime
        The cutoff.
    horizon_days : int
        Horizon of the expected value, in days.
    active_within_days : int or None
        Customers with an order in this time are active; None: all.
    customer_ids : collection of str, optional
        Only these customers.
    with_reasons : bool
        False leaves the lists of reasons empty, which saves most of the time.

    Raises
    ------
    TooLittleData
        If no customer was active; with ``customer_ids``, if there are no orders at all.
    """
    scores, buyers, _ = score_with_evidence(
        lake,
        as_of,
        horizon_days=horizon_days,
        active_within_days=active_within_days,
        customer_ids=customer_ids,
        with_reasons=with_reasons,
    )
    return scores, buyers


def score_with_evidence(
    lake: "Lake",
    as_of: datetime,
    *,
    horizon_days: int = 28,
    active_within_days: int | None = 56,
    customer_ids: Collection[str] | None = None,
    with_reasons: bool = True,
) -> "tuple[pd.DataFrame, int, RuleEvidence]":
    """Score as `score` does, and return the evidence as well.

    Parameters
    ----------
    lake : Lake
    as_of : datetime
    horizon_days : int
    active_within_days : int or None
    customer_ids : collection of str, optional
    with_reasons : bool

    Raises
    ------
    TooLittleData
        As for `score`.
    """
    within = active_within_days if customer_ids is None else None
    snapshot = buyers(lake, as_of, horizon_days=horizon_days, active_within_days=within)
    active = snapshot.frame
    if customer_ids is not None:
        if active_within_days is not None and (active.recency_days <= active_within_days).any():
            active = active[active.recency_days <= active_within_days]
        snapshot = snapshot.rows(snapshot.frame.customer_id.isin(list(customer_ids)).to_numpy())
    frame = snapshot.frame
    rank_days = order_rhythm(lake, as_of).rank_days(active_within_days)
    silent, often, risk = ranks(frame, active, rank_days)
    standings = standings_among(frame, active)
    reasons: list[list[dict[str, Any]]] = [
        _reasons_of(row, int(r), int(f), standing, horizon_days) if with_reasons else []
        for row, r, f, standing in zip(
            frame[REASON_COLUMNS].to_dict("records"), silent, often, standings, strict=True
        )
    ]
    scores = pd.DataFrame(
        {
            "customer_id": frame.customer_id,
            "churn_probability": risk,
            "reasons": reasons,
            "expected_value": expected_spend(snapshot, horizon_days),
            "next_order_at": next_order(snapshot),
            # a rank is no chance, so the list goes by the purchase process
            **list_columns(snapshot, return_chance(snapshot, horizon_days), horizon_days),
        }
    )
    evidence = RuleEvidence(frame, silent, often, standings, horizon_days)
    return scores, snapshot.buyers, evidence


def describe_rules(buyers: int) -> str:
    """Describe the rules and a model's data needs."""
    if buyers < MIN_BUYERS:
        return gettext(
            "Rules (RFM), which rank and foretell nothing; a model needs {min_buyers} "
            "buyers (have {buyers})."
        ).format(min_buyers=MIN_BUYERS, buyers=buyers)
    return gettext(
        "Rules (RFM), which rank and foretell nothing: there is no model yet; "
        "`/retention retrain` makes one."
    )


def ranks(
    frame: pd.DataFrame, active: pd.DataFrame, rank_days: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the ranks of silence and of the number of orders, and the churn score, (n,) each.

    Parameters
    ----------
    frame : pandas.DataFrame
        (n,) customers with ``recency_days``, ``gap_median`` and ``orders_all``.
    active : pandas.DataFrame
        The customers to rank among, with ``recency_days`` and ``orders_all``.
    rank_days : sequence of float
        See `longest_rank`.
    """
    silent = np.minimum(
        quintile(frame.recency_days, active.recency_days), longest_rank(frame, rank_days)
    )
    often = quintile(frame.orders_all, active.orders_all)
    return silent, often, RECENCY * (silent - 1) / 4 + FREQUENCY * (5 - often) / 4


def longest_rank(frame: pd.DataFrame, rank_days: Sequence[float]) -> np.ndarray:
    """Return the highest rank 1 … 5 that each silence can have.

    Parameters
    ----------
    frame : pandas.DataFrame
        (n,) customers with ``recency_days`` and ``gap_median`` (missing after one order day).
    rank_days : sequence of float
        (4,) shortest silences of the ranks 2 to 5, in days.

    Examples
    --------
    >>> frame = pd.DataFrame({"recency_days": [1.0, 40.0, 40.0], "gap_median": [np.nan, 9.0, 60.0]})
    >>> longest_rank(frame, (7.0, 14.0, 21.0, 28.0)).tolist()
    [1.0, 5.0, 3.0]
    """
    silence = frame.recency_days.to_numpy(dtype=float)
    rank = 1.0 + np.searchsorted(np.asarray(rank_days, dtype=float), silence, side="right")
    within_usual_gap = silence < frame.gap_median.to_numpy(dtype=float)
    return np.where(within_usual_gap, np.minimum(rank, WITHIN_USUAL_GAP), rank)


def quintile(values: pd.Series, among: pd.Series) -> np.ndarray:
    """Rank values among others into quintiles 1 … 5.

    The result is (n,). Equal values share a quintile.

    Parameters
    ----------
    values : pandas.Series
        (n,) values to rank.
    among : pandas.Series
        (m,) values that define the quintiles.
    """
    others, own = np.sort(among.to_numpy(dtype=float)), values.to_numpy(dtype=float)
    rank = (others.searchsorted(own, "left") + others.searchsorted(own, "right") + 1) / 2
    return np.ceil(rank / len(others) * 5).clip(1, 5)


@dataclass(frozen=True, slots=True)
class _Standing:
    """Shares of the active customers, to which a customer is compared."""

    silent_shorter: float
    silent_longer: float
    fewer_orders: float
    more_orders: float


def standings_among(frame: pd.DataFrame, active: pd.DataFrame) -> list[_Standing]:
    """Compare customers with the active ones; ties count for neither side."""
    shares = []
    for column in ("recency_days", "orders_all"):
        others = np.sort(active[column].to_numpy(dtype=float))
        own = frame[column].to_numpy(dtype=float)
        shares.append(others.searchsorted(own, "left") / len(others))
        shares.append(1 - others.searchsorted(own, "right") / len(others))
    return [_Standing(*map(float, row)) for row in zip(*shares, strict=True)]


@dataclass(frozen=True, slots=True)
class RuleEvidence:
    """Ranks of scored customers, from which evidence is made on demand.

    Parameters
    ----------
    frame : pandas.DataFrame
        (n,) customers with recency, gaps and orders.
    silent, often : numpy.ndarray
        (n,) ranks 1 … 5 of the silence and of the number of orders.
    standings : list
        Shares of the active customers to which each customer is compared.
    horizon_days : int
    """

    frame: pd.DataFrame
    silent: np.ndarray
    often: np.ndarray
    standings: list[_Standing]
    horizon_days: int

    def of(self, customer_ids: Sequence[str]) -> dict[str, Evidence]:
        """Return the evidence of some customers, by id.

        Parameters
        ----------
        customer_ids : sequence of str
            Unknown ids are left out.
        """
        places = np.flatnonzero(self.frame["customer_id"].isin(list(customer_ids)).to_numpy())
        rows = self.frame.iloc[places].to_dict("records")
        return {
            str(row["customer_id"]): Evidence(
                float(row["recency_days"]),
                float(row["gap_median"]),
                self._clauses(row, int(place)),
            )
            for row, place in zip(rows, places, strict=True)
        }

    def reasons(self, customer_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Return the reasons of some customers, by id; unknown ids are left out."""
        places = np.flatnonzero(self.frame["customer_id"].isin(list(customer_ids)).to_numpy())
        rows = self.frame.iloc[places].to_dict("records")
        return {
            str(row["customer_id"]): _reasons_of(
                row,
                int(self.silent[place]),
                int(self.often[place]),
                self.standings[place],
                self.horizon_days,
            )
            for row, place in zip(rows, places, strict=True)
        }

    def _clauses(self, row: dict[str, Any], place: int) -> tuple[Clause, ...]:
        """Return the clauses of one customer: one of the silence, one of the number of orders."""
        standing = self.standings[place]
        rank, often = int(self.silent[place]), int(self.often[place])
        up, down = RECENCY * max(rank - 1, 1) / 4, RECENCY * max(5 - rank, 1) / 4
        customer = Customer(row, {}, self.horizon_days)
        clauses = clauses_of(customer, {"recency": up}) or clauses_of(customer, {"recency": -down})
        days = float(np.floor(row["recency_days"]))
        if not clauses and standing.silent_shorter > MOST:
            share = {"days": days, "share": standing.silent_shorter}
            clauses = (Clause("silent_share", share, ("recency",), up, RAISES),)
        elif not clauses and standing.silent_longer > MOST:
            share = {"days": days, "share": standing.silent_longer}
            clauses = (Clause("recent_share", share, ("recency",), -down, LOWERS),)
        orders = float(row["orders_all"])
        if standing.more_orders > MOST:
            values = {"orders": orders, "share": standing.more_orders}
            weight = FREQUENCY * max(5 - often, 1) / 4
            clauses += (Clause("few_orders_share", values, ("frequency",), weight, RAISES),)
        elif standing.fewer_orders > MOST:
            values = {"orders": orders, "share": standing.fewer_orders}
            weight = -FREQUENCY * max(often - 1, 1) / 4
            clauses += (Clause("many_orders_share", values, ("frequency",), weight, LOWERS),)
        return ordered(clauses)


def _reasons_of(
    row: dict[str, Any], silent: int, often: int, standing: _Standing, horizon_days: int
) -> list[dict[str, Any]]:
    """Return the reasons in both directions, the largest weight first.

    Silence is compared with the customer's own gaps. The shop's customers decide if there is no
    difference. Both directions have a reason, so that every tier has one.
    """
    raising, lowering = _silence_reasons(row, standing, horizon_days)
    up, down = RECENCY * max(silent - 1, 1) / 4, RECENCY * max(5 - silent, 1) / 4
    reasons = [stored_reason("recency", text, up, RAISES) for text in raising]
    reasons += [stored_reason("recency", text, -down, LOWERS) for text in lowering]
    orders = count(row["orders_all"], "order")
    if standing.more_orders > MOST:
        text = gettext("{orders} ever, and {share} of the active customers have more").format(
            orders=orders, share=percent(standing.more_orders)
        )
        reasons.append(stored_reason("frequency", text, FREQUENCY * max(5 - often, 1) / 4, RAISES))
    if standing.fewer_orders > MOST:
        text = gettext("{orders} ever, and {share} of the active customers have fewer").format(
            orders=orders, share=percent(standing.fewer_orders)
        )
        reasons.append(stored_reason("frequency", text, -FREQUENCY * max(often - 1, 1) / 4, LOWERS))
    directions = {reason["direction"] for reason in reasons}
    for direction in sorted({RAISES, LOWERS} - directions):
        text = _silence_beside_others(row, standing, raises=direction == RAISES)
        reasons.append(stored_reason("recency", text, 0.0, direction))
    return sorted(
        reasons, key=lambda reason: (reason["direction"] != RAISES, -abs(reason["weight"]))
    )


def _silence_reasons(
    row: dict[str, Any], standing: _Standing, horizon_days: int
) -> tuple[list[str], list[str]]:
    """Return the sentences about the silence that raise the risk, and those that lower it."""
    if not np.isnan(row["gap_median"]):
        if is_late(row):
            return [silence_text(row, horizon_days)], []
        if is_early(row):
            return [], [silence_text(row, horizon_days)]
    if standing.silent_shorter > MOST:
        return [_silence_beside_others(row, standing, raises=True)], []
    if standing.silent_longer > MOST:
        return [], [_silence_beside_others(row, standing, raises=False)]
    return [], []


def _silence_beside_others(row: dict[str, Any], standing: _Standing, *, raises: bool) -> str:
    silence = days_text(row["recency_days"])
    if raises and standing.silent_shorter > MOST:
        return gettext(
            "no order for {silence}, longer than {share} of the active customers"
        ).format(silence=silence, share=percent(standing.silent_shorter))
    if not raises and standing.silent_longer > MOST:
        return gettext(
            "last order {silence} ago, more recent than that of {share} of the active customers"
        ).format(silence=silence, share=percent(standing.silent_longer))
    if raises:
        return gettext("no order for {silence}").format(silence=silence)
    return gettext("last order {silence} ago").format(silence=silence)
