"""Features of generated shops of 10 and 100 million events.

Time grows linearly, and memory stays below 8 GiB.
"""

import shutil
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.benchmarks.measure import FOLDER, Figure, against, alone, peak_mb, seconds

if TYPE_CHECKING:
    from retention.lake import Lake

BEGIN, MONTHS = datetime(2024, 1, 1, tzinfo=UTC), 24
MILLION = 1_000_000
LINES, EVENTS_A_CUSTOMER, ITEMS = 5, 120, 50_000
MOST_MB = 8 * 1024
AT_RISK = 20_000


def large() -> dict[str, Figure]:
    """The whole catalogue at a cutoff after two years, of a shop ten times the other."""
    small, work_small, peak_small = _measured(10 * MILLION)
    big, work_big, peak_big = _measured(100 * MILLION)
    return {
        "features_10m": alone(small, "s"),
        "features_10m_peak": alone(peak_small, "MiB", most=MOST_MB),
        "features_100m": against(big, "s", 10 * small, most=1.5),
        "features_100m_work": against(work_big, "s", 10 * work_small, most=1.3),
        "features_100m_peak": alone(peak_big, "MiB", most=MOST_MB),
    }


def at_risk() -> dict[str, Figure]:
    """Measure training a recommender, and the lists of 20,000 customers in one run.

    A campaign for so many customers asks for such lists.
    """
    from retention.lake import Lake
    from retention.recommend import recommend, train

    home = FOLDER / "generated-at-risk"
    shutil.rmtree(home, ignore_errors=True)
    try:
        lake = Lake(home / "lake", home / "scratch", "Europe/London")
        generate(lake, AT_RISK * EVENTS_A_CUSTOMER)
        cutoff = BEGIN + timedelta(days=MONTHS * 30)
        trained: list[Any] = []
        learned = seconds(lambda: trained.append(train(lake, cutoff=cutoff)))
        people = [f"c{number}" for number in range(AT_RISK)]
        lists: list[Any] = []
        took = seconds(lambda: lists.append(recommend(trained[0], lake, people, k=5, as_of=cutoff)))
        assert len(lists[0]) == AT_RISK
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return {
        "at_risk_train": alone(learned, "s"),
        "at_risk": alone(took, "s"),
        "at_risk_peak": alone(peak_mb(), "MiB"),
    }


def _measured(events: int) -> tuple[float, float, float]:
    """Return the features' seconds, by the clock and of all cores, and the peak memory so far."""
    from retention.features import build
    from retention.lake import Lake

    home = FOLDER / f"generated-{events // MILLION}m"
    shutil.rmtree(home, ignore_errors=True)
    try:
        generate(Lake(home / "lake", home / "scratch"), events)
        lake = Lake(home / "lake", home / "scratch", "Europe/London")
        cutoff = BEGIN + timedelta(days=MONTHS * 30)  # some days before the data ends
        rows: list[int] = []
        worked = time.process_time()
        took = seconds(lambda: rows.append(len(build(lake, cutoff).execute())))
        worked = time.process_time() - worked
        assert rows[0] > 0.5 * events / EVENTS_A_CUSTOMER, rows
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return took, worked, peak_mb()


def generate(lake: "Lake", events: int) -> None:
    """Write a generated shop straight into its Delta tables.

    It is seeded by the row's number, and in the order of time, as logs are. Seven visits in ten are
    orders of five lines, two are views, one is a cart. Customers differ in how often they come,
    items in how often they are bought.
    """
    from retention.lake.schema import TABLES
    from retention.lake.storage import delta_store

    visits, customers = events // LINES, events // EVENTS_A_CUSTOMER
    starts = [
        datetime(BEGIN.year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
        for month in range(MONTHS + 1)
    ]
    span = int((starts[-1] - BEGIN).total_seconds())
    firsts = [-(-int((start - BEGIN).total_seconds()) * visits // span) for start in starts]
    lake.duckdb.execute(f"""
        CREATE OR REPLACE VIEW generated AS
        SELECT *, 'o' || visit AS order_key, (hash(visit, 1) % 1000000) / 1e6 AS u,
               (hash(id, 2) % 1000000) / 1e6 AS w, hash(visit, 3) % 10 AS kind
        FROM (SELECT range AS id, range // {LINES} AS visit FROM range({events}))
    """)
    moment = (
        f"make_timestamp({int(BEGIN.timestamp()) * MILLION} + "
        f"CAST(visit::HUGEINT * {span * 1_000_000} // {visits} AS BIGINT))"
    )
    columns = {
        "customer_id": f"'c' || CAST(floor({customers} * pow(u, 1.5)) AS BIGINT)",
        "event_type": (
            "CASE WHEN kind < 7 THEN 'purchase' WHEN kind < 9 THEN 'view' ELSE 'cart' END"
        ),
        "occurred_at": moment,
        "item_id": f"'i' || CAST(floor({ITEMS} * pow(w, 3)) AS BIGINT)",
        "order_id": "CASE WHEN kind < 7 THEN order_key END",
        "quantity": "1.0",
        "amount": "CASE WHEN kind < 7 THEN round(2 + 30 * w, 2) END",
        "discount": "CASE WHEN w < 0.2 THEN 1.0 ELSE 0.0 END",
        "channel": "CASE WHEN hash(visit, 4) % 3 = 0 THEN 'web' ELSE 'store' END",
        "source": "'generated'",
    }
    table = TABLES["events"]
    types = {
        "text": "VARCHAR",
        "number": "DOUBLE",
        "moment": "TIMESTAMP",
        "json": "VARCHAR",
        "flag": "BOOLEAN",
    }
    selected = ", ".join(
        f"CAST({columns.get(column.name, 'NULL')} AS {types[column.kind]}) AS {column.name}"
        for column in table.columns
    )
    lake.duckdb.execute(
        f"CREATE OR REPLACE VIEW generated_events AS SELECT visit, {selected} FROM generated"
    )
    parts = {
        f"{start:%Y-%m}": f"visit >= {first} AND visit < {end}"
        for start, first, end in zip(starts[:-1], firsts[:-1], firsts[1:], strict=True)
    }
    written = delta_store.write_parts(lake.root, table, lake.duckdb, "generated_events", parts, 0)
    delta_store.commit_parts(lake.root, table, written)
    lake.duckdb.execute("DROP VIEW generated_events")
    lake.duckdb.execute("DROP VIEW generated")
