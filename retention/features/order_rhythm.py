"""Derive a churn definition from the gaps between a shop's orders."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from retention.features.build import place, run_compiled
from retention.features.visits import DAY, clock_changes, local_seconds, seconds
from retention.lake.coverage import longest_horizon
from retention.lake.storage.delta_store import DataCache

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake

GRID = (7, 14, 28, 56, 90, 120, 180, 270, 365, 540, 730)  # days
SHARE = 0.80  # of returns that happen within the horizon
TOLERANCE = 1.10  # a horizon may miss the share by so much of its length
RENEWAL_SHARE, GRACE = 0.95, 1.10  # of renewals within the period; days after it, as a factor
RANKS = (0.2, 0.4, 0.6, 0.8)  # quantiles of the gaps, for the ranks of silence
MIN_RETURNS, MIN_CUSTOMERS = 50, 20  # below, other shops' rhythms count, too
# Geometric mean over shops of the days that cover the share of returns, and its weight in returning
# customers (docs/data_scientist/churn_definition.md).
PRIOR_DAYS, PRIOR_CUSTOMERS = 110.0, 10
DEFAULT_HORIZON, DEFAULT_ACTIVE_WITHIN = 28, 56  # before there are orders
MAX_CACHED = 8  # moments of a lake's state
_GAP_TYPES = {"customer_id": "string", **dict.fromkeys(("gap", "count", "first", "last"), "int64")}

Limit = Literal["", "few_returns", "short_history"]


@dataclass(frozen=True, slots=True)
class OrderRhythm:
    """Gaps between the order days of a shop's customers.

    `gaps`: (n,) distinct gaps in days, ascending.
    `weights`: (n,) share of each gap. Every returning customer has the same weight in all, so that
    a few frequent buyers do not decide for the others.
    `returns`, `customers`: observed gaps, and the customers with at least one.
    `history_days`: from the first order to the last.
    """

    gaps: np.ndarray
    weights: np.ndarray
    returns: int
    customers: int
    history_days: int

    @property
    def is_known(self) -> bool:
        """Whether there are enough returns to go by."""
        return self.returns >= MIN_RETURNS and self.customers >= MIN_CUSTOMERS

    def quantile(self, share: float) -> float:
        """Return the days within which this share of the returns happened.

        Examples
        --------
        >>> rhythm = OrderRhythm(np.array([2.0, 9.0]), np.array([0.75, 0.25]), 4, 2, 30)
        >>> rhythm.quantile(0.5), rhythm.quantile(0.8)
        (2.0, 9.0)
        """
        if not len(self.gaps):
            return float("nan")
        place = int(np.searchsorted(np.cumsum(self.weights), share - 1e-9))
        return float(self.gaps[min(place, len(self.gaps) - 1)])

    def covered(self, days: float) -> float:
        """Return the share of the returns that happened within so many days."""
        return float(self.weights[self.gaps <= days].sum())

    @property
    def horizon(self) -> float:
        """The days within which 80% of the returns happen; few are shrunk to the prior."""
        own = self.quantile(SHARE)
        if self.is_known:
            return own
        if not self.customers:
            return PRIOR_DAYS
        weight = self.customers / (self.customers + PRIOR_CUSTOMERS)
        return float(own**weight * PRIOR_DAYS ** (1 - weight))

    def rank_days(self, active_within_days: int | None = None) -> tuple[float, ...]:
        """Return the shortest silence, in days, of the ranks 2 to 5 of `retention.risk.rules`.

        These are the quantiles .2, .4, .6 and .8 of the gaps. Without enough returns they are
        quarters of `horizon`. They shrink together where the last would lie outside the
        activity window or near its end.
        """
        if self.is_known:
            days = [self.quantile(share) for share in RANKS]
        else:
            days = [self.horizon * rank / len(RANKS) for rank in range(1, len(RANKS) + 1)]
        most = np.inf if active_within_days is None else RANKS[-1] * active_within_days
        return tuple(min(1.0, most / days[-1]) * day for day in days)


_RHYTHMS: DataCache[OrderRhythm] = DataCache(MAX_CACHED)


@dataclass(frozen=True, slots=True)
class DerivedDefinition:
    """A churn definition that follows from a shop's rhythm.

    `horizon_days`, `active_within_days`: churn is no order within the horizon, among customers with
    an order in the activity window.
    `limit`: ``few_returns``: other shops' rhythms count, too. ``short_history``: the history is too
    short for the horizon that the rhythm asks for. Otherwise empty.
    `evidence`: ``share``, ``days`` (within which that share of returns happened, or is expected to
    with few returns), ``median_days``, ``covered_share`` (of the returns, within the horizon; None
    without returns), ``returns``, ``customers``, ``history_days``, and what is enough.
    """

    horizon_days: int
    active_within_days: int
    limit: Limit
    evidence: dict[str, Any]


def order_rhythm(lake: "Lake", before: datetime) -> OrderRhythm:
    """Measure the gaps between order days.

    The last results are cached, because a digest asks for the same moment several times.
    """
    return _RHYTHMS.get(lake, before, lambda: rhythm_of_gaps(*_gap_counts(lake, before)))


def rhythm_of_gaps(gap_counts: "pd.DataFrame", history_days: int) -> OrderRhythm:
    """Summarise gaps.

    `gap_counts`: columns ``customer_id``, ``gap`` (days) and ``count``.
    `history_days`: from the first order to the last.

    Examples
    --------
    >>> import pandas as pd
    >>> gaps = pd.DataFrame(
    ...     {"customer_id": ["a", "a", "b"], "gap": [2, 5, 9], "count": [2, 1, 1]}
    ... )
    >>> rhythm_of_gaps(gaps, 30).weights.round(3).tolist()
    [0.333, 0.167, 0.5]
    """
    if gap_counts.empty:
        return OrderRhythm(np.empty(0), np.empty(0), 0, 0, history_days)
    per_customer = gap_counts.groupby("customer_id")["count"].transform("sum")
    weight = (gap_counts["count"] / per_customer).groupby(gap_counts["gap"]).sum().sort_index()
    return OrderRhythm(
        weight.index.to_numpy(dtype=float),
        (weight / weight.sum()).to_numpy(),
        int(gap_counts["count"].sum()),
        int(gap_counts.customer_id.nunique()),
        history_days,
    )


def derive_definition(rhythm: OrderRhythm) -> DerivedDefinition:
    """Choose the churn definition that fits a rhythm.

    The horizon is the shortest of `GRID` within which 80% of the returns happened, give or take a
    tenth of its length. The activity window is the one of these that is closest to twice the
    horizon. With few returns, other shops' rhythms count, too. A model must be able to learn and to
    be judged (`retention.lake.coverage.longest_horizon`).

    Notes
    -----
    A customer who is silent for longer than most returns took has probably left. This is the usual
    definition of partial churn where no contract ends; see Clemente-Císcar, San Matías and
    Giner-Bosch (2014), A methodology based on profitability criteria for defining the partial
    defection of customers in non-contractual settings, EJOR 239.
    docs/data_scientist/churn_definition.md has the evidence on nine shops.

    Examples
    --------
    >>> rhythm = OrderRhythm(np.array([10.0, 74.0]), np.array([0.7, 0.3]), 900, 300, 730)
    >>> definition = derive_definition(rhythm)
    >>> definition.horizon_days, definition.active_within_days
    (90, 180)
    """
    fitting = next((choice for choice in GRID if rhythm.horizon <= choice * TOLERANCE), GRID[-1])
    # Few returns cannot judge a model, so only the window to learn from must fit.
    longest = longest_horizon(rhythm.history_days, windows=2 if rhythm.is_known else 1)
    horizon = min(fitting, max((choice for choice in GRID if choice <= longest), default=GRID[0]))
    has_returns = bool(rhythm.returns)
    limit: Limit = "short_history" if horizon < fitting else ""
    evidence = {
        "share": SHARE,
        "days": rhythm.horizon,
        "median_days": rhythm.quantile(0.5) if rhythm.is_known else None,
        "covered_share": rhythm.covered(horizon) if has_returns else None,
        "returns": rhythm.returns,
        "customers": rhythm.customers,
        "history_days": rhythm.history_days,
        "min_returns": MIN_RETURNS,
        "min_customers": MIN_CUSTOMERS,
    }
    return DerivedDefinition(
        horizon, active_window(horizon), limit if rhythm.is_known else "few_returns", evidence
    )


def derive_renewal_definition(rhythm: OrderRhythm) -> DerivedDefinition:
    """Choose the churn definition of a shop whose customers pay once in a period.

    The activity window is the period that nearly all renewals keep to: only who has paid for the
    current period can renew. The horizon adds days of grace.

    Examples
    --------
    >>> rhythm = OrderRhythm(np.array([30.0, 31.0]), np.array([0.4, 0.6]), 900, 300, 730)
    >>> definition = derive_renewal_definition(rhythm)
    >>> definition.horizon_days, definition.active_within_days
    (35, 31)
    """
    derived = derive_definition(rhythm)
    if not rhythm.returns:
        return derived
    period = int(rhythm.quantile(RENEWAL_SHARE))
    horizon = int(np.ceil(period * GRACE))
    evidence = {**derived.evidence, "share": RENEWAL_SHARE, "days": float(period)}
    evidence |= {"covered_share": rhythm.covered(horizon)}
    limit: Limit = "" if rhythm.is_known else "few_returns"
    return DerivedDefinition(horizon, period, limit, evidence)


def active_window(horizon_days: int) -> int:
    """Return the activity window for a horizon, in days: the closest choice to twice as long.

    Examples
    --------
    >>> [active_window(horizon) for horizon in GRID]
    [14, 28, 56, 120, 180, 270, 365, 540, 730, 730, 730]
    """
    return min(
        (choice for choice in GRID if choice >= horizon_days),
        key=lambda choice: abs(np.log(choice / (2 * horizon_days))),
        default=2 * horizon_days,
    )


def _gap_counts(lake: "Lake", before: datetime) -> "tuple[pd.DataFrame, int]":
    """Count the gaps of each customer in the engine."""
    sql = _compiled_sql(clock_changes(lake.zone, before.year))
    events = {"events": lambda: lake.table("events", before)}
    counts = run_compiled(lake, sql, before, _GAP_TYPES, events).execute()
    # A customer's first day has no gap.
    known = counts[counts["gap"].notna()][["customer_id", "gap", "count"]].reset_index(drop=True)
    if counts.empty:
        return known, 0
    return known, int(counts["last"].max() - counts["first"].min()) + 1


@lru_cache(maxsize=64)
def _compiled_sql(clock: tuple[tuple[int, int], ...]) -> str:
    """Compile the query to DuckDB's SQL, with a placeholder for the events.

    Compiling takes as long as running it.
    """
    import ibis

    events = place("events")
    local = local_seconds(seconds(events.occurred_at), clock)
    bought = events.filter(events.event_type == "purchase")
    days = bought.select("customer_id", day=local // DAY).distinct()
    gap = days.day - days.day.lag().over(ibis.window(group_by="customer_id", order_by="day"))
    gaps = days.mutate(gap=gap)
    counts = gaps.group_by("customer_id", "gap").agg(
        count=gaps.count(), first=gaps.day.min(), last=gaps.day.max()
    )
    return str(ibis.to_sql(counts, dialect="duckdb"))
