"""Compute features of eligible customers at a cutoff."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from retention.features import basket, engagement, orders
from retention.features.catalogue import NAMES, ZERO_IF_MISSING
from retention.features.visits import clock_changes, visits
from retention.lake.schema import IBIS_TYPES, TABLES
from retention.window import DEFAULT, Window

if TYPE_CHECKING:
    import ibis

DECIMALS = 9  # engines sum floats in any order; rounding makes features reproducible
TABLE_TYPES = {
    name: {column.name: IBIS_TYPES[column.kind] for column in table.columns}
    for name, table in TABLES.items()
}
NOW_PLACEHOLDER = 6_021_023_141_592_653  # replaced by the cutoff in compiled SQL
TABLE_PLACEHOLDER = "place_of_"


class FeatureTables(Protocol):
    """Interface of a lake for features, which a substitute with hypothetical events also has."""

    zone: str

    def table(
        self, name: str, before: datetime | None = None, since: datetime | None = None
    ) -> "ibis.Table":
        """Return a canonical table."""

    def query(self, sql: str, types: dict[str, str]) -> "ibis.Table":
        """Return a SQL query as an Ibis table."""


def build(
    lake: FeatureTables, cutoff: datetime, window: Window = DEFAULT, names: Collection[str] = NAMES
) -> "ibis.Table":
    """Compute point-in-time features at a cutoff.

    One row per customer with an order before the cutoff (and in the activity window before it).
    Events are grouped to visits, visits to customers.

    `lake`: source of events, items and treatments. Its ``zone`` gives local weekdays and hours.
    `cutoff`: timezone-aware. Only events that occurred and were known before it are used.
    `window`: the features' own windows scale with its horizon H: H/2, H, 2H, 4H.
    Returns: ``customer_id`` and the selected columns of `FEATURES` in the catalogue's order, as
    float64. Unknown values are missing. Nothing is computed until the table is executed.
    """
    since = cutoff - timedelta(days=4 * window.horizon_days)
    spark = getattr(lake, "spark", None)  # substitutes for a lake have none
    engine = spark or lake
    tables = {
        "events": lambda: engine.table("events", before=cutoff),
        "recent": lambda: engine.table("events", before=cutoff, since=since),
        "items": lambda: engine.table("items"),
        "treatments": lambda: engine.table("treatments", before=cutoff),
        "signals": lambda: engine.table("text_signals", before=cutoff),
    }
    selected = tuple(name for name in NAMES if name in names)
    spec = FeatureSpec(*window, clock_changes(lake.zone, cutoff.year), selected)
    if spark:
        opened = {name: table() for name, table in tables.items()}
        return expression(**opened, now=int(cutoff.timestamp()), spec=spec)
    types = {"customer_id": "string", **dict.fromkeys(selected, "float64")}
    return run_compiled(lake, _compiled_sql(spec), cutoff, types, tables)


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """Parameters of the feature expression, without cutoff and data."""

    horizon_days: int
    active_within_days: int | None
    clock: tuple[tuple[int, int], ...]
    names: tuple[str, ...]


@lru_cache(maxsize=64)
def _compiled_sql(spec: FeatureSpec) -> str:
    """Compile the expression to DuckDB's SQL.

    It has placeholders for cutoff and tables. Compiling takes longer than running the query.
    """
    import ibis

    places = {name: place(name) for name in ("events", "items", "treatments")}
    places["recent"] = place("events", "recent")
    places["signals"] = place("text_signals", "signals")
    return str(ibis.to_sql(expression(**places, now=NOW_PLACEHOLDER, spec=spec), dialect="duckdb"))


def place(table: str, name: str = "") -> "ibis.Table":
    """Return a placeholder of a canonical table, for `run_compiled`."""
    import ibis

    return ibis.table(TABLE_TYPES[table], name=f"{TABLE_PLACEHOLDER}{name or table}")


def run_compiled(
    lake: FeatureTables,
    sql: str,
    cutoff: datetime,
    types: dict[str, str],
    tables: "Mapping[str, Callable[[], ibis.Table]]",
) -> "ibis.Table":
    """Put a cutoff and tables in the places of compiled SQL. Unused tables are not opened."""
    sql = sql.replace(str(NOW_PLACEHOLDER), str(int(cutoff.timestamp())))
    for name, table in tables.items():
        if (reference := f'"{TABLE_PLACEHOLDER}{name}"') in sql:
            sql = sql.replace(reference, f'"{table().get_name()}"')
    return lake.query(sql, types)


def expression(
    events: "ibis.Table",
    recent: "ibis.Table",
    items: "ibis.Table",
    treatments: "ibis.Table",
    signals: "ibis.Table",
    *,
    now: int,
    spec: FeatureSpec,
) -> "ibis.Table":
    """Build the feature expression from canonical tables, in any engine.

    `recent`: the events of the last 4H.
    `items`: the shop's catalogue. `signals`: moods of texts.
    `spec`: horizon, activity window, clock changes and feature names.
    """
    h, selected = float(spec.horizon_days), set(spec.names)
    ratios = {
        name: of
        for name, of in (orders.ratio_features(h) | engagement.RATIOS).items()
        if name in selected
    }
    columns = selected - set(ratios) | _columns_of(ratios.values()) | {"recency_days"}
    folded = visits(events, now)
    of_others = (
        engagement.event_features(folded, h),
        engagement.rating_features(folded),
        engagement.journey_features(folded, h),
    )
    if not any(columns & {*part.columns} for part in of_others):
        folded = visits(events.filter(events.event_type == "purchase"), now)
    bought = orders.order_history(folded, spec.clock, now, spec.horizon_days)
    aggregates = orders.timing_aggregates(bought, h) | orders.spend_aggregates(bought, h)
    customers = bought.group_by("customer_id").agg(
        {name: aggregates[name] for name in aggregates if name in columns}
    )
    if spec.active_within_days is not None:
        customers = customers.filter(customers.recency_days <= spec.active_within_days)
    pairs = basket.customer_items(recent)
    parts = (
        basket.item_features(pairs, now),
        basket.category_features(pairs, items, now, h),
        *of_others,
        engagement.campaign_features(treatments, now, h),
        engagement.channel_features(folded),
        engagement.text_features(signals, now),
    )
    for number, part in enumerate(parts):
        if columns & {*part.columns}:  # unique names keep this one query, which is planned faster
            customers = customers.left_join(part, "customer_id", rname=f"{{name}}_{number}")
    customers = customers.mutate(
        **{
            name: customers[name].fill_null(0)
            for name in ZERO_IF_MISSING
            if name in customers.columns
        }
    )
    features = customers.mutate(**{name: of(customers) for name, of in ratios.items()})
    return features.select(
        "customer_id", **{name: features[name].round(DECIMALS) for name in spec.names}
    )


def _columns_of(ratios: "Iterable[Callable[[ibis.Table], ibis.Value]]") -> set[str]:
    """Return the columns that these row expressions read."""
    import ibis

    names = set()

    class Row:
        def __getattr__(self, name: str) -> "ibis.Value":
            names.add(name)
            return ibis.literal(1.0)

        __getitem__ = __getattr__

    for ratio in ratios:
        ratio(Row())
    return names
