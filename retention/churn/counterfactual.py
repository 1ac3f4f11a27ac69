"""What would have made the difference: hypothetical orders, put into a customer's history and scored like real ones.

A lower recency alone describes nobody: counts, windows, gaps and spend follow from the same orders. So the customer's
events are copied once for each "what if", with orders like the last one added, and all features are computed from
them by `retention.features` as for anybody else. Only changes that cross a tier when scored are told.
"""
# ruff: noqa: S608 - SQL is put together from names of our own and escaped literals (mapping.literal)

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from retention.churn.model import TrainedChurn
from retention.churn.model_features import bgnbd_features, buying_state_features, purchase_history
from retention.churn.snapshots import Snapshot
from retention.features import NAMES, build, quarters
from retention.lake.lake import naive
from retention.lake.mapping import literal
from retention.templating import count

if TYPE_CHECKING:
    import ibis
    import pandas as pd

TIERS = ("low", "medium", "high")
MAX_SINGLE_TRIALS = 24  # moments of one order that are tried
MAX_ORDERS = 4
SOONER_DAYS = 3  # days
NOON = 0.5  # days: "20 days ago" is tried in the middle of that day
_EVENTS, _TREATMENTS = "hypothetical_events", "hypothetical_treatments"


@dataclass(frozen=True, slots=True)
class HypotheticalOrders:
    """Orders added at these ages (days before the moment); with what chance the customer then leaves, and the tier."""

    ages: tuple[float, ...]
    churn_probability: float
    tier: str


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """The smallest change that makes a lower tier: one order ``within_days``, or so many ``orders`` within those.

    ``sooner`` says that it would have been noticeably more recent than the last one, not just one more.
    """

    tier: str
    orders: int
    within_days: int
    churn_probability: float
    sooner: bool = False

    @property
    def text(self) -> str:
        """``had they ordered within the last 20 days: medium``."""
        if self.within_days < 1:
            when = "had they ordered today"
        elif not self.sooner:
            when = f"with {count(self.orders, 'more order')} in the last {count(self.within_days, 'day')}"
        else:
            when = f"had they ordered within the last {count(self.within_days, 'day')}"
        return f"{when}: {self.tier}"

    def as_dict(self) -> dict[str, Any]:
        """For the job's result and the templates."""
        return {
            "text": self.text,
            "tier": self.tier,
            "orders": self.orders,
            "within_days": self.within_days,
            "churn_probability": round(self.churn_probability, 4),
        }


def counterfactuals(
    trained: TrainedChurn,
    lake: Any,
    snapshot: Snapshot,
    row: int,
    *,
    tier_of: Callable[[float], str],
) -> list[Counterfactual]:
    """The smallest changes that bring a customer into each lower tier; empty where none does, or the tier is low.

    Parameters
    ----------
    snapshot : Snapshot
        Of the moment, with this customer in place ``row``.
    tier_of : callable
        Churn probability → high, medium or low.
    """
    customer = snapshot.rows(np.arange(len(snapshot.frame)) == row)
    now = tier_of(float(trained.predict(customer)[0]))
    if now == TIERS[0]:
        return []
    silence, horizon = float(customer.frame.recency_days[0]), trained.horizon_days
    days = np.unique(np.linspace(0, np.ceil(silence) - 1, MAX_SINGLE_TRIALS).round().astype(int))
    single = [(float(day) + (NOON if day else 1e-3),) for day in days if day + NOON < silence]
    many = [tuple(horizon * (np.arange(n) + NOON) / n) for n in range(2, MAX_ORDERS + 1)]
    tried = _score_changes(trained, lake, customer, [*single, *many], tier_of)
    found: list[Counterfactual] = []
    for place in range(TIERS.index(now) - 1, -1, -1):
        best = _smallest_change(
            tried[: len(single)], tried[len(single) :], TIERS[: place + 1], silence, horizon
        )
        if best and (not found or found[-1].tier != best.tier):
            found.append(best)
    return found


def _smallest_change(
    single: list[HypotheticalOrders],
    many: list[HypotheticalOrders],
    wanted: tuple[str, ...],
    silence: float,
    horizon: int,
) -> Counterfactual | None:
    """One order, as long ago as it may be (any later one must do as well), else the fewest orders."""
    enough = None
    for change in single:
        if change.tier not in wanted:
            break
        enough = change
    if enough:
        day = int(enough.ages[0])
        return Counterfactual(
            enough.tier, 1, day, enough.churn_probability, day <= silence - SOONER_DAYS
        )
    for change in many:
        if change.tier in wanted:
            return Counterfactual(change.tier, len(change.ages), horizon, change.churn_probability)
    return None


def _score_changes(
    trained: TrainedChurn,
    lake: Any,
    customer: Snapshot,
    changes: list[tuple[float, ...]],
    tier_of: Callable[[float], str],
) -> list[HypotheticalOrders]:
    if not changes:
        return []
    frame = _hypothetical_features(lake, customer, changes, trained.horizon_days)
    X = frame[list(trained.columns)].to_numpy(dtype=float, na_value=np.nan)
    chance = trained.probability(X)
    return [
        HypotheticalOrders(ages, float(p), tier_of(float(p)))
        for ages, p in zip(changes, chance, strict=True)
    ]


def _hypothetical_features(
    lake: Any, customer: Snapshot, changes: list[tuple[float, ...]], horizon_days: int
) -> "pd.DataFrame":
    """The features of the customer after each change, one row a change.

    What the copies cannot have (whatever depends on other customers) stays the customer's own: the copy without any
    change shows which features those are.
    """
    own = customer.frame.iloc[0]
    with _HypotheticalLake(lake, str(own.customer_id), customer.cutoff, [(), *changes]) as history:
        built = build(
            history, customer.cutoff, horizon_days=horizon_days, active_within_days=None
        ).execute()
        built = built.assign(place=built.customer_id.astype(int)).sort_values(
            "place", ignore_index=True
        )
        paced = quarters.order_day_counts(
            history, customer.cutoff, built.customer_id, horizon_days=horizon_days
        )
    closed = bgnbd_features(customer.purchases, built, horizon_days) | buying_state_features(
        customer.buying, *paced
    )
    if customer.season is not None:
        closed["season_no_purchase"] = customer.season.no_purchase(*purchase_history(built))
    built = built.assign(**closed)
    copied = built.iloc[0]
    for name in customer.frame.columns:
        made_of_history = name in NAMES or name in closed
        if name != "customer_id" and not (
            made_of_history and _is_equal(copied.get(name), own[name])
        ):
            built[name] = own[name]
    return built.iloc[1:].reset_index(drop=True)


def _is_equal(one: Any, other: Any) -> bool:
    return bool(np.isclose(float(one), float(other), rtol=1e-6, atol=1e-6, equal_nan=True))


class _HypotheticalLake:
    """A lake in which there are only copies of one customer, called 0, 1, …, each with orders of its own added."""

    def __init__(
        self, lake: Any, customer_id: str, cutoff: datetime, changes: list[tuple[float, ...]]
    ) -> None:
        self.lake, self.zone = lake, lake.zone
        self._customer, self._cutoff, self._changes = literal(customer_id), cutoff, changes

    def __enter__(self) -> "_HypotheticalLake":
        events = self.lake.table("events", before=self._cutoff).get_name()
        sent = self.lake.table("treatments", before=self._cutoff).get_name()
        mine, copies = (
            f"customer_id = {self._customer}",
            f"range({len(self._changes)}) AS copies(copy)",
        )
        order = "coalesce(order_id, CAST(CAST(occurred_at AS DATE) AS VARCHAR))"
        run = self.lake.duckdb.execute
        run(f'CREATE OR REPLACE TEMP TABLE {_EVENTS}_own AS SELECT * FROM "{events}" WHERE {mine}')
        run(f"""
            CREATE OR REPLACE TEMP TABLE {_EVENTS} AS
            SELECT own.* REPLACE (CAST(copy AS VARCHAR) AS customer_id) FROM {_EVENTS}_own AS own, {copies}
            UNION ALL
            SELECT own.* REPLACE (
                CAST(copy AS VARCHAR) AS customer_id, 'hypothetical ' || nth AS order_id, moment AS occurred_at,
                CAST(NULL AS TIMESTAMP) AS available_at, event_id || ' ' || nth AS event_id)
            FROM {_EVENTS}_own AS own, (VALUES {self._added()}) AS added(copy, nth, moment)
            WHERE event_type = 'purchase' AND {order} = (
                SELECT {order} FROM {_EVENTS}_own WHERE event_type = 'purchase' ORDER BY occurred_at DESC, {order} LIMIT 1)
        """)
        run(f"""
            CREATE OR REPLACE TEMP TABLE {_TREATMENTS} AS
            SELECT sent.* REPLACE (CAST(copy AS VARCHAR) AS customer_id) FROM "{sent}" AS sent, {copies} WHERE {mine}
        """)
        return self

    def __exit__(self, *_: object) -> None:
        for name in (f"{_EVENTS}_own", _EVENTS, _TREATMENTS):
            self.lake.duckdb.execute(f"DROP TABLE IF EXISTS {name}")

    def _added(self) -> str:
        rows = [
            f"({copy}, {place}, TIMESTAMP '{naive(self._cutoff - timedelta(days=age)).isoformat()}')"
            for copy, ages in enumerate(self._changes)
            for place, age in enumerate(ages)
        ]
        return ", ".join(rows)

    def table(
        self, name: str, before: datetime | None = None, since: datetime | None = None
    ) -> "ibis.Table":
        """The copies' events and treatments; the catalogue is the shop's."""
        if name == "treatments":
            return self.lake.con.table(_TREATMENTS)
        if name != "events":
            return self.lake.table(name)
        if since is None:
            return self.lake.con.table(_EVENTS)
        recent = f"{_EVENTS}_recent"
        start = naive(since).isoformat()
        self.lake.duckdb.execute(
            f"CREATE OR REPLACE TEMP VIEW {recent} AS SELECT * FROM {_EVENTS} WHERE occurred_at >= TIMESTAMP '{start}'"
        )
        return self.lake.con.table(recent)

    def query(self, sql: str, types: dict[str, str]) -> "ibis.Table":
        """As the lake's own."""
        return self.lake.query(sql, types)
