"""Score without a model: active customers by rules, lapsed ones by the purchase process.

Rules use ranks of recency and frequency. A rank is not a probability; outputs carry
``"model_version": "rules"``.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from retention.churn.explaining.clauses import Clause, Evidence, clauses_of, ordered
from retention.churn.explaining.facts import Customer, days_text, silence_text, stored_reason
from retention.churn.lost_margin import list_columns, return_chance
from retention.churn.population import buyers, expected_spend, next_order
from retention.churn.training_set import MIN_BUYERS
from retention.features.order_rhythm import order_rhythm
from retention.risk.policy import LAPSED
from retention.templating import LOWERS, RAISES, count, percent
from retention.text import gettext
from retention.window import DEFAULT, Window

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
    window: Window = DEFAULT,
    *,
    customer_ids: Collection[str] | None = None,
    with_reasons: bool = True,
) -> "tuple[pd.DataFrame, int, RuleEvidence]":
    """Score customers by RFM quintiles.

    Returns the columns of `retention.churn.score`, the number of buyers, and the evidence.

    The churn score is ``0.5 · (R − 1) / 4 + 0.12 · (5 − F) / 4``; R = 5 is the longest silence, F =
    5 the most orders. Ranks are among active customers. ``customer_ids`` that are not active are
    ranked among them, too, so a customer's score equals that of the sweep. A longer silence than
    all active customers gives the last quintile.

    Somebody is always the most silent, also in a shop where all is well. So R is at most the rank
    of the silence among the shop's gaps between orders (`OrderRhythm.rank_days`), and at most 3 for
    a silence within the customer's own usual gap.

    `with_reasons`: false leaves the lists of reasons empty, which saves most of the time.
    """
    horizon_days, within = window
    some = window if customer_ids is None else Window(horizon_days, None)
    snapshot = buyers(lake, as_of, some)
    active = snapshot.frame
    if customer_ids is not None:
        if within is not None and (active.recency_days <= within).any():
            active = active[active.recency_days <= within]
        snapshot = snapshot.rows(snapshot.frame.customer_id.isin(list(customer_ids)).to_numpy())
    frame = snapshot.frame
    silent, often, risk = ranks(frame, active, order_rhythm(lake, as_of).rank_days(within))
    evidence = RuleEvidence(frame, silent, often, standings_among(frame, active), horizon_days)
    scores = pd.DataFrame(
        {
            "customer_id": frame.customer_id,
            "churn_probability": risk,
            "reasons": evidence.reasons() if with_reasons else [[] for _ in range(len(frame))],
            "expected_value": expected_spend(snapshot, horizon_days),
            "next_order_at": next_order(snapshot),
            # a rank is no chance, so the list goes by the purchase process
            **list_columns(snapshot, return_chance(snapshot, horizon_days), horizon_days),
        }
    )
    return scores, snapshot.buyers, evidence


def score_lapsed(
    lake: "Lake", at: datetime, active: Collection[str], window: Window
) -> "tuple[pd.DataFrame, RuleEvidence]":
    """Score every buyer who is not among the ``active`` ones, by the purchase process of all.

    A churn model learns from active customers, so it knows nothing about these.

    The columns are those of `retention.churn.score`, the tier and ``order_days``. The expected
    value is the spend of a customer who returns. Reasons are left to the evidence.
    """
    horizon_days = window.horizon_days
    everyone = buyers(lake, at, Window(horizon_days, None))
    is_active = everyone.frame.customer_id.isin(active).to_numpy()
    away = everyone.rows(~is_active)
    chance = return_chance(away, horizon_days)
    columns = list_columns(away, chance, horizon_days)
    value = columns["return_value"] / np.maximum(chance, 1e-9)
    scores = pd.DataFrame(
        {
            "customer_id": away.frame.customer_id,
            "churn_probability": 1 - chance,
            "reasons": [[] for _ in range(len(chance))],
            "expected_value": value if away.spend is not None else np.zeros(len(chance)),
            "next_order_at": next_order(away),
            **columns,
            "tier": LAPSED,
            "order_days": away.frame.order_days,
        }
    )
    rank_days = order_rhythm(lake, at).rank_days(window.active_within_days)
    among = everyone.frame[is_active]
    silent, often, _ = ranks(away.frame, among, rank_days)
    standings = standings_among(away.frame, among)
    return scores, RuleEvidence(away.frame, silent, often, standings, horizon_days)


def describe_rules(buyers: int) -> str:
    """Describe the rules and a model's data needs."""
    if buyers < MIN_BUYERS:
        return gettext(
            "Rules (RFM), which rank and foretell nothing; a model needs {min_buyers} "
            "buyers (have {buyers})."
        ).format(min_buyers=MIN_BUYERS, buyers=buyers)
    return gettext("Rules (RFM), which rank and foretell nothing: there is no model yet.")


def ranks(
    frame: pd.DataFrame, active: pd.DataFrame, rank_days: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the ranks of silence and of the number of orders, and the churn score, (n,) each.

    `frame`: (n,) customers with ``recency_days``, ``gap_median`` and ``orders_all``.
    `active`: the customers to rank among, with ``recency_days`` and ``orders_all``.
    `rank_days`: see `longest_rank`.
    """
    values = frame.recency_days
    silent = np.minimum(quintile(values, active.recency_days), longest_rank(frame, rank_days))
    often = quintile(frame.orders_all, active.orders_all)
    return silent, often, RECENCY * (silent - 1) / 4 + FREQUENCY * (5 - often) / 4


def longest_rank(frame: pd.DataFrame, rank_days: Sequence[float]) -> np.ndarray:
    """Return the highest rank 1 … 5 that each silence can have.

    `frame`: (n,) customers with ``recency_days`` and ``gap_median`` (missing after one order day).
    `rank_days`: (4,) shortest silences of the ranks 2 to 5, in days.

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

    `frame`: (n,) customers with recency, gaps and orders.
    `silent`, `often`: (n,) ranks 1 … 5 of the silence and of the number of orders.
    `standings`: shares of the active customers to which each customer is compared.
    """

    frame: pd.DataFrame
    silent: np.ndarray
    often: np.ndarray
    standings: list[_Standing]
    horizon_days: int

    def of(self, customer_ids: Sequence[str]) -> dict[str, Evidence]:
        """Return the evidence of some customers, by id."""
        return {
            str(row["customer_id"]): Evidence(
                float(row["recency_days"]), float(row["gap_median"]), self._clauses(row, place)
            )
            for row, place in self._rows(customer_ids)
        }

    def reasons_of(self, customer_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Return the reasons of some customers, by id; unknown ids are left out."""
        rows = self._rows(customer_ids)
        return {str(row["customer_id"]): self._reasons(row, place) for row, place in rows}

    def reasons(self) -> list[list[dict[str, Any]]]:
        """Return the reasons of all customers."""
        rows = self.frame[REASON_COLUMNS].to_dict("records")
        return [self._reasons(row, place) for place, row in enumerate(rows)]

    def _rows(self, customer_ids: Sequence[str]) -> Iterator[tuple[dict[Any, Any], int]]:
        places = np.flatnonzero(self.frame["customer_id"].isin(list(customer_ids)).to_numpy())
        return zip(self.frame.iloc[places].to_dict("records"), map(int, places), strict=True)

    def _weights(self, place: int) -> tuple[float, float, float, float]:
        """Return by how much silence and orders could raise and lower the risk."""
        rank, often = int(self.silent[place]), int(self.often[place])
        return (
            RECENCY * max(rank - 1, 1) / 4,
            -(RECENCY * max(5 - rank, 1) / 4),
            FREQUENCY * max(5 - often, 1) / 4,
            -FREQUENCY * max(often - 1, 1) / 4,
        )

    def _clauses(self, row: dict[str, Any], place: int) -> tuple[Clause, ...]:
        """Return the clauses of one customer: one of the silence, one of the number of orders."""
        standing = self.standings[place]
        up, down, few, many = self._weights(place)
        customer = Customer(row, {}, self.horizon_days)
        clauses = clauses_of(customer, {"recency": up}) or clauses_of(customer, {"recency": down})
        silence = (
            ("silent_share", standing.silent_shorter, up, RAISES),
            ("recent_share", standing.silent_longer, down, LOWERS),
        )
        frequency = (
            ("few_orders_share", standing.more_orders, few, RAISES),
            ("many_orders_share", standing.fewer_orders, many, LOWERS),
        )
        for group, name, value, told in (
            ("recency", "days", float(np.floor(row["recency_days"])), () if clauses else silence),
            ("frequency", "orders", float(row["orders_all"]), frequency),
        ):
            clauses += tuple(
                Clause(code, {name: value, "share": share}, (group,), weight, direction)
                for code, share, weight, direction in told
                if share > MOST
            )[:1]
        return ordered(clauses)

    def _reasons(self, row: dict[str, Any], place: int) -> list[dict[str, Any]]:
        """Return the reasons in both directions, the largest weight first.

        Silence is compared with the customer's own gaps. The shop's customers decide if there is no
        difference. Both directions have a reason, so that every tier has one.
        """
        standing = self.standings[place]
        up, down, few, many = self._weights(place)
        raising, lowering = _silence_reasons(row, standing, self.horizon_days)
        reasons = [stored_reason("recency", text, up, RAISES) for text in raising]
        reasons += [stored_reason("recency", text, down, LOWERS) for text in lowering]
        for share, weight, direction in (
            (standing.more_orders, few, RAISES),
            (standing.fewer_orders, many, LOWERS),
        ):
            if share > MOST:
                text = (
                    gettext("{orders} ever, and {share} of the active customers have more")
                    if direction == RAISES
                    else gettext("{orders} ever, and {share} of the active customers have fewer")
                ).format(orders=count(row["orders_all"], "order"), share=percent(share))
                reasons.append(stored_reason("frequency", text, weight, direction))
        for direction in sorted({RAISES, LOWERS} - {reason["direction"] for reason in reasons}):
            text = _silence_beside_others(row, standing, raises=direction == RAISES)
            reasons.append(stored_reason("recency", text, 0.0, direction))
        return sorted(
            reasons, key=lambda reason: (reason["direction"] != RAISES, -abs(reason["weight"]))
        )


def _silence_reasons(
    row: dict[str, Any], standing: _Standing, horizon_days: int
) -> tuple[list[str], list[str]]:
    """Return the sentences about the silence that raise the risk, and those that lower it."""
    customer = Customer(row, {}, horizon_days)
    if late := silence_text(customer, True):
        return [late], []
    if early := silence_text(customer, False):
        return [], [early]
    if standing.silent_shorter > MOST:
        return [_silence_beside_others(row, standing, raises=True)], []
    if standing.silent_longer > MOST:
        return [], [_silence_beside_others(row, standing, raises=False)]
    return [], []


def _silence_beside_others(row: dict[str, Any], standing: _Standing, *, raises: bool) -> str:
    silence = days_text(row["recency_days"])
    if raises and standing.silent_shorter > MOST:
        text = gettext("no order for {silence}, longer than {share} of the active customers")
        return text.format(silence=silence, share=percent(standing.silent_shorter))
    if not raises and standing.silent_longer > MOST:
        return gettext(
            "last order {silence} ago, more recent than that of {share} of the active customers"
        ).format(silence=silence, share=percent(standing.silent_longer))
    if raises:
        return gettext("no order for {silence}").format(silence=silence)
    return gettext("last order {silence} ago").format(silence=silence)
