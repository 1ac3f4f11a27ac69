"""Features of every eligible customer at a cutoff: events folded to visits, visits to customers."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from retention.features import basket, intent, orders
from retention.features.catalogue import COUNTS, NAMES
from retention.features.visits import clock_changes, visits
from retention.lake.schema import IBIS_TYPES, TABLES

if TYPE_CHECKING:
    import ibis

DIGITS = 9  # engines add floats up in any order; without the last bits the same data gives the same features
TYPES = {
    name: {column.name: IBIS_TYPES[column.kind] for column in table.columns}
    for name, table in TABLES.items()
}
NOW = 6_021_023_141_592_653  # stands for the moment in what is compiled once
PLACE = "place_of_"


def build(
    lake: Any,
    cutoff: datetime,
    *,
    horizon_days: int = 28,
    active_within_days: int | None = 56,
    names: Collection[str] = NAMES,
) -> "ibis.Table":
    """One row for each customer who ordered before the cutoff (and within ``active_within_days`` of it).

    Parameters
    ----------
    lake : Lake
        Its tables events, items and treatments are read; its ``zone`` says what weekday and hour it is in the shop.
    cutoff : datetime
        Aware. Only what occurred, and was known, before it is seen.
    horizon_days : int
        H, by which the windows scale: H/2, H, 2H, 4H.
    active_within_days : int or None
        None: everyone who ever ordered.
    names : collection of str
        Only these features, in the catalogue's order; what they do not need is not read.

    Returns
    -------
    ibis.Table
        ``customer_id`` and those columns of `FEATURES`, as float64; a gap nobody has seen yet is missing.
        Nothing is computed until it is executed.
    """
    since = cutoff - timedelta(days=4 * horizon_days)
    spark = getattr(lake, "spark", None)  # what stands in for a lake has none
    engine = spark or lake
    tables = {
        "events": lambda: engine.table("events", before=cutoff),
        "recent": lambda: engine.table("events", before=cutoff, since=since),
        "items": lambda: engine.table("items"),
        "treatments": lambda: engine.table("treatments", before=cutoff),
    }
    wanted = tuple(name for name in NAMES if name in names)
    shape = Shape(horizon_days, active_within_days, clock_changes(lake.zone, cutoff.year), wanted)
    if spark:
        opened = {name: table() for name, table in tables.items()}
        return expression(**opened, now=int(cutoff.timestamp()), shape=shape)
    sql = _sql(shape).replace(str(NOW), str(int(cutoff.timestamp())))
    for name, table in tables.items():
        if (place := f'"{PLACE}{name}"') in sql:
            sql = sql.replace(place, f'"{table().get_name()}"')
    return lake.query(sql, {"customer_id": "string", **dict.fromkeys(wanted, "float64")})


@dataclass(frozen=True, slots=True)
class Shape:
    """What the expression depends on, but for the moment and the data."""

    horizon_days: int
    active_within_days: int | None
    clock: tuple[tuple[int, int], ...]
    names: tuple[str, ...]


@lru_cache(maxsize=64)
def _sql(shape: Shape) -> str:
    """The expression in DuckDB's SQL, with places for the moment and the tables: to compile it takes longer than to run it."""
    import ibis

    places = {
        name: ibis.table(TYPES[table], name=f"{PLACE}{name}")
        for name, table in {
            "events": "events",
            "recent": "events",
            "items": "items",
            "treatments": "treatments",
        }.items()
    }
    return str(ibis.to_sql(expression(**places, now=NOW, shape=shape), dialect="duckdb"))


def expression(
    events: "ibis.Table",
    recent: "ibis.Table",
    items: "ibis.Table",
    treatments: "ibis.Table",
    *,
    now: int,
    shape: Shape,
) -> "ibis.Table":
    """The features of `build` from the canonical tables, in any engine.

    Parameters
    ----------
    events, treatments : ibis.Table
        Of before the moment.
    recent : ibis.Table
        Those events of the last 4H.
    items : ibis.Table
    now : int
        The moment, in seconds since 1970.
    shape : Shape
    """
    h, wanted = float(shape.horizon_days), set(shape.names)
    ratios = {name: of for name, of in (orders.ratios(h) | intent.RATIOS).items() if name in wanted}
    columns = wanted - set(ratios) | _read(ratios.values()) | {"recency_days"}
    if not wanted & intent.BEYOND_ORDERS:
        events = events.filter(events.event_type == "purchase")
    folded = visits(events, now)
    bought = orders.orders(folded, shape.clock, now, shape.horizon_days)
    known = orders.timing(bought, h) | orders.worth(bought, h)
    customers = bought.group_by("customer_id").agg(
        {name: known[name] for name in known if name in columns}
    )
    if shape.active_within_days is not None:
        customers = customers.filter(customers.recency_days <= shape.active_within_days)
    pairs = basket.pairs(recent)
    parts: tuple[tuple[frozenset[str], Callable[[], ibis.Table]], ...] = (
        (basket.ITEMS, lambda: basket.items(pairs, now)),
        (basket.KINDS, lambda: basket.kinds(pairs, items, now, h)),
        (intent.OTHER, lambda: intent.other(folded, h)),
        (intent.OPINIONS, lambda: intent.opinions(folded)),
        (intent.JOURNEYS, lambda: intent.journeys(folded, h)),
        (intent.CAMPAIGNS, lambda: intent.campaigns(treatments, now, h)),
        (intent.CHANNELS, lambda: intent.channels(folded)),
    )
    for number, (serves, part) in enumerate(parts):
        if (
            serves & wanted
        ):  # under names of its own, so that all stays one query: such are planned faster
            customers = customers.left_join(part(), "customer_id", rname=f"{{name}}_{number}")
    customers = customers.mutate(
        **{name: customers[name].fill_null(0) for name in COUNTS if name in customers.columns}
    )
    found = customers.mutate(**{name: of(customers) for name, of in ratios.items()})
    return found.select("customer_id", **{name: found[name].round(DIGITS) for name in shape.names})


def _read(ratios: "Iterable[Callable[[ibis.Table], ibis.Value]]") -> set[str]:
    """The columns that these expressions of one row read."""
    import ibis

    found = set()

    class Row:
        def __getattr__(self, name: str) -> "ibis.Value":
            found.add(name)
            return ibis.literal(1.0)

        __getitem__ = __getattr__

    for ratio in ratios:
        ratio(Row())
    return found
