"""Find added orders that lower a customer's risk tier.

A lower recency alone is not a realistic customer: counts, windows, gaps and spend depend on the
same orders. So the customer's events are copied once per change, with orders like the last one
added, and `retention.features` computes all features of the copies. Only changes that lower the
tier are reported.
"""
# ruff: noqa: S608 - SQL contains only fixed names and escaped literals (mapping.literal)

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from retention.churn.model import TrainedChurn
from retention.churn.model_features import bgnbd_features, buying_state_features, purchase_history
from retention.churn.snapshots import Snapshot
from retention.features import NAMES, build, quarters
from retention.lake.importing.mapping import literal
from retention.lake.lake import naive
from retention.templating import count
from retention.text import gettext
from retention.window import Window

if TYPE_CHECKING:
    import ibis
    import pandas as pd

    from retention.lake import Lake

TIERS = ("low", "medium", "high")
MAX_SINGLE_TRIALS = 24  # moments to try for one order
MAX_ORDERS = 4
SOONER_DAYS = 3
NOON = 0.5  # days; "20 days ago" means the middle of that day
_EVENTS, _TREATMENTS = "hypothetical_events", "hypothetical_treatments"
_SIGNALS = "hypothetical_signals"


@dataclass(frozen=True, slots=True)
class HypotheticalOrders:
    """Added orders (ages in days) and the resulting risk."""

    ages: tuple[float, ...]
    churn_probability: float
    tier: str


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """The smallest change that gives a lower tier.

    `orders`, `within_days`: orders to add, and the days before the cutoff that contain them.
    `sooner`: whether the order is noticeably more recent than the last one.
    """

    tier: str
    orders: int
    within_days: int
    churn_probability: float
    sooner: bool = False

    @property
    def text(self) -> str:
        """The change as a phrase.

        An example is ``had they ordered within the last 20 days: medium``.
        """
        if self.within_days < 1:
            return gettext("had they ordered today: {tier}").format(tier=self.tier)
        days = count(self.within_days, "day")
        if self.sooner:
            text = gettext("had they ordered within the last {days}: {tier}")
        else:
            text = gettext("with {orders} in the last {days}: {tier}")
        orders = count(self.orders, "more order")
        return text.format(orders=orders, days=days, tier=self.tier)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for job results and templates."""
        fields = asdict(self) | {"churn_probability": round(self.churn_probability, 4)}
        del fields["sooner"]
        return {"text": self.text, **fields}


def counterfactuals(
    trained: TrainedChurn,
    lake: "Lake",
    snapshot: Snapshot,
    row: int,
    *,
    tier_of: Callable[[float], str],
) -> list[Counterfactual]:
    """Find the smallest change for each lower tier.

    `tier_of`: churn probability → high, medium or low.
    Returns: empty for the lowest tier, and if no change lowers the tier.
    """
    customer = snapshot.rows(np.arange(len(snapshot.frame)) == row)
    now = tier_of(float(trained.predict(customer)[0]))
    if now == TIERS[0]:
        return []
    silence, horizon = float(customer.frame.recency_days[0]), trained.horizon_days
    days = np.unique(np.linspace(0, np.ceil(silence) - 1, MAX_SINGLE_TRIALS).round().astype(int))
    single = [(float(day) + (NOON if day else 1e-3),) for day in days if day + NOON < silence]
    multiple = [tuple(horizon * (np.arange(n) + NOON) / n) for n in range(2, MAX_ORDERS + 1)]
    trials = _score_changes(trained, lake, customer, [*single, *multiple], tier_of)
    changes: list[Counterfactual] = []
    for place in range(TIERS.index(now) - 1, -1, -1):
        best = _smallest_change(
            trials[: len(single)], trials[len(single) :], TIERS[: place + 1], silence, horizon
        )
        if best and (not changes or changes[-1].tier != best.tier):
            changes.append(best)
    return changes


def _smallest_change(
    single: list[HypotheticalOrders],
    multiple: list[HypotheticalOrders],
    tiers: tuple[str, ...],
    silence: float,
    horizon: int,
) -> Counterfactual | None:
    """Return the earliest single order that suffices, else the fewest orders.

    All later single orders must suffice, too.
    """
    enough = None
    for change in single:
        if change.tier not in tiers:
            break
        enough = change
    if enough:
        day = int(enough.ages[0])
        tier = enough.tier
        return Counterfactual(tier, 1, day, enough.churn_probability, day <= silence - SOONER_DAYS)
    for change in multiple:
        if change.tier in tiers:
            return Counterfactual(change.tier, len(change.ages), horizon, change.churn_probability)
    return None


def _score_changes(
    trained: TrainedChurn,
    lake: "Lake",
    customer: Snapshot,
    order_ages: list[tuple[float, ...]],
    tier_of: Callable[[float], str],
) -> list[HypotheticalOrders]:
    if not order_ages:
        return []
    frame = _hypothetical_features(lake, customer, order_ages, trained.horizon_days)
    X = frame[list(trained.columns)].to_numpy(dtype=float, na_value=np.nan)
    chance = trained.probability(X)
    pairs = zip(order_ages, chance, strict=True)
    return [HypotheticalOrders(ages, float(p), tier_of(float(p))) for ages, p in pairs]


def _hypothetical_features(
    lake: "Lake", customer: Snapshot, order_ages: list[tuple[float, ...]], horizon_days: int
) -> "pd.DataFrame":
    """Compute the customer's features after each change, one row each.

    Features that depend on other customers keep their values. The unchanged copy shows which
    features those are.
    """
    own = customer.frame.iloc[0]
    customer_id = str(own.customer_id)
    with _HypotheticalLake(lake, customer_id, customer.cutoff, [(), *order_ages]) as history:
        features = build(history, customer.cutoff, Window(horizon_days, None)).execute()
        places = features.customer_id.astype(int)
        features = features.assign(place=places).sort_values("place", ignore_index=True)
        quarter_counts = quarters.order_day_counts(
            history, customer.cutoff, features.customer_id, horizon_days=horizon_days
        )
    assert customer.buying is not None  # only snapshots for baselines have none
    model_columns = bgnbd_features(customer.purchases, features, horizon_days)
    model_columns |= buying_state_features(customer.buying, *quarter_counts)
    if customer.season is not None:
        history_of_all = purchase_history(features)
        model_columns["season_no_purchase"] = customer.season.no_purchase(*history_of_all)
    features = features.assign(**model_columns)
    unchanged = features.iloc[0]
    for name in customer.frame.columns.drop("customer_id"):
        from_history = name in NAMES or name in model_columns
        if not from_history or not _is_equal(unchanged.get(name), own[name]):
            features[name] = own[name]
    return features.iloc[1:].reset_index(drop=True)


def _is_equal(first: Any, second: Any) -> bool:
    return bool(np.isclose(float(first), float(second), rtol=1e-6, atol=1e-6, equal_nan=True))


class _HypotheticalLake:
    """A lake with copies of one customer, each with added orders.

    The copies are customers 0, 1, and so on.
    """

    def __init__(
        self, lake: "Lake", customer_id: str, cutoff: datetime, order_ages: list[tuple[float, ...]]
    ) -> None:
        self.lake, self.zone = lake, lake.zone
        self._customer, self._cutoff, self._order_ages = literal(customer_id), cutoff, order_ages

    def __enter__(self) -> "_HypotheticalLake":
        events = self.lake.table("events", before=self._cutoff).get_name()
        sent, wrote = (
            self.lake.table(name, before=self._cutoff).get_name()
            for name in ("treatments", "text_signals")
        )
        mine = f"customer_id = {self._customer}"
        copies = f"range({len(self._order_ages)}) AS copies(copy)"
        order = "coalesce(order_id, CAST(CAST(occurred_at AS DATE) AS VARCHAR))"
        run = self.lake.duckdb.execute
        run(f'CREATE OR REPLACE TEMP TABLE {_EVENTS}_own AS SELECT * FROM "{events}" WHERE {mine}')
        run(f"""
            CREATE OR REPLACE TEMP TABLE {_EVENTS} AS
            SELECT own.* REPLACE (CAST(copy AS VARCHAR) AS customer_id)
            FROM {_EVENTS}_own AS own, {copies}
            UNION ALL
            SELECT own.* REPLACE (
                CAST(copy AS VARCHAR) AS customer_id, 'hypothetical ' || nth AS order_id,
                moment AS occurred_at,
                CAST(NULL AS TIMESTAMP) AS available_at, event_id || ' ' || nth AS event_id)
            FROM {_EVENTS}_own AS own, (VALUES {self._added()}) AS added(copy, nth, moment)
            WHERE event_type = 'purchase' AND {order} = (
                SELECT {order} FROM {_EVENTS}_own WHERE event_type = 'purchase'
                ORDER BY occurred_at DESC, {order} LIMIT 1)
        """)
        for copy, own in ((_TREATMENTS, sent), (_SIGNALS, wrote)):
            run(f"""
                CREATE OR REPLACE TEMP TABLE {copy} AS
                SELECT own.* REPLACE (CAST(copy AS VARCHAR) AS customer_id)
                FROM "{own}" AS own, {copies} WHERE {mine}
            """)
        return self

    def __exit__(self, *_: object) -> None:
        for name in (f"{_EVENTS}_own", _EVENTS, _TREATMENTS, _SIGNALS):
            self.lake.duckdb.execute(f"DROP TABLE IF EXISTS {name}")

    def _added(self) -> str:
        rows = [
            f"({copy}, {place}, "
            f"TIMESTAMP '{naive(self._cutoff - timedelta(days=age)).isoformat()}')"
            for copy, ages in enumerate(self._order_ages)
            for place, age in enumerate(ages)
        ]
        return ", ".join(rows)

    def table(
        self, name: str, before: datetime | None = None, since: datetime | None = None
    ) -> "ibis.Table":
        """Return the copies' events, treatments or moods, or another table."""
        if name in ("treatments", "text_signals"):
            return self.lake.con.table(_TREATMENTS if name == "treatments" else _SIGNALS)
        if name != "events":
            return self.lake.table(name)
        if since is None:
            return self.lake.con.table(_EVENTS)
        recent = f"{_EVENTS}_recent"
        start = naive(since).isoformat()
        self.lake.duckdb.execute(
            f"CREATE OR REPLACE TEMP VIEW {recent} AS "
            f"SELECT * FROM {_EVENTS} WHERE occurred_at >= TIMESTAMP '{start}'"
        )
        return self.lake.con.table(recent)

    def query(self, sql: str, types: dict[str, str]) -> "ibis.Table":
        """Run a query on the lake."""
        return self.lake.query(sql, types)
