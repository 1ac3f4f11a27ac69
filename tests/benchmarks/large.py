"""``python -m tests.benchmarks.large [MILLIONS…]``: time and peak memory of whole jobs.

A made-up shop with 100 events per customer: its import from a file, both trainings, `sweep`, and
the lists of 2,000 customers in one run. Each job runs in a process of its own, so its peak is its
own. Work is the seconds of all cores, whatever else the machine does; growth is its ratio to that
of the size before. ``--steps`` without ``import`` uses a home that ``--keep`` kept.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import peak_mb, settings
from tests.benchmarks.volume import MAP

MILLION, EVENTS_A_CUSTOMER, LINES, ITEMS, DAYS, LISTS = 1_000_000, 100, 4, 20_000, 540, 2_000
SIZES = (1, 10, 100)  # millions of events


def write_file(events: int, path: Path, *, each: int = EVENTS_A_CUSTOMER, days: int = DAYS) -> None:
    """Write a Parquet file of purchases, so many of each customer on the average.

    A customer joins on some day, orders at a pace of their own, and leaves on some day.
    """
    import duckdb

    customers, orders = events // each, each // LINES
    path.parent.mkdir(parents=True, exist_ok=True)
    duckdb.connect().execute(f"""
        COPY (
            SELECT 'c' || customer AS customer_id, 'o' || visit AS order_id,
                   'i' || CAST(floor({ITEMS} * pow(w, 3)) AS BIGINT) AS item_id,
                   make_timestamp(CAST(1672531200000000 + 86400000000 * {days} * (
                       joined + (left_by - joined) * (hash(visit, 1) % 1000000) / 1e6
                   ) AS BIGINT)) AS occurred_at,
                   1 + hash(id, 3) % 3 AS quantity, round(2 + 30 * w, 2) AS amount
            FROM (
                SELECT *, (hash(id, 2) % 1000000) / 1e6 AS w,
                       (hash(customer, 4) % 1000000) / 2e6 AS joined,
                       1 - (hash(customer, 5) % 1000000) / 5e6 AS left_by
                FROM (
                    SELECT range AS id, range // {LINES} AS visit,
                           CAST(floor({customers} * pow((hash(range // {LINES}) % 1000000007)
                               / 1000000007.0, 1.5)) AS BIGINT) AS customer
                    FROM range({customers * orders * LINES})
                )
            )
        ) TO '{path}' (FORMAT parquet)
    """)


def context(place: Any) -> Any:
    """What a task gets of its job."""
    from retention import clock
    from retention.db import Database
    from workers.tasks.interface import Context

    return Context(Database.of(place), "large", 1, "operator", None, None, clock.now())


def bring(place: Any) -> None:
    from retention.db import Database
    from retention.db.migrate import upgrade
    from retention.lake import Lake
    from retention.lake.importing.import_files import import_files

    upgrade(place)
    (place.home / "map.toml").write_text(MAP)
    file = place.home.parent / f"{place.home.name}.parquet"
    import_files(
        Lake.open(place), Database.of(place), place, "events", [str(file)], place.home / "map.toml"
    )


def retrain(place: Any, kind: str) -> None:
    """Train a model and use it."""
    from retention.db import Database
    from retention.lake import Lake
    from retention.progress import silent
    from retention.registry import promote
    from retention.registry import retrain as training
    from retention.registry.churn_definition import ensure_definition
    from workers.retrain_request import Retrain
    from workers.tasks.models.retrain import training_cutoff

    lake, database = Lake.open(place), Database.of(place)
    window = ensure_definition(lake, database).window
    cutoff, _ = training_cutoff(Retrain(), lake, window.horizon_days)
    request = training.RetrainRequest(cutoff, window, "auto", "operator", None)
    row = getattr(training, kind)(place, lake, None, request, silent).row
    with database.transaction() as session:
        session.add(row)
        promote(session, row, "operator")
    print(f"{kind}: {row.estimator}, {window}", file=sys.stderr)


def sweep(place: Any) -> None:
    from workers.job_requests import Sweep
    from workers.tasks.customers.sweep import run

    data = run(Sweep(), context(place)).data
    print(f"{data['customers']:,} customers scored", file=sys.stderr)


def lists(place: Any) -> None:
    """Recommend to many customers at once, as a campaign does."""
    from retention.db import Database
    from retention.lake import Lake
    from retention.registry.model_cache import open_recommender
    from retention.risk.policy import load_policy

    lake, policy = Lake.open(place), load_policy(place)
    with Database.of(place).reading() as session:
        recommender = open_recommender(lake, session, policy)
    customers = [f"c{number}" for number in range(LISTS)]
    recommender.lists(lake, customers, k=5, as_of=lake.as_of(None, 28).at)


STEPS: dict[str, Callable[[Any], None]] = {
    "import": bring,
    "churn": partial(retrain, kind="churn"),
    "recommend": partial(retrain, kind="recommend"),
    "sweep": sweep,
    "lists": lists,
}


def child(name: str, millions: int) -> None:
    """Run one job; print its seconds, those of all cores' work, and its peak memory in MiB."""
    place = settings(f"large-{millions}m")
    began, worked = time.perf_counter(), time.process_time()
    STEPS[name](place)
    print(json.dumps([time.perf_counter() - began, time.process_time() - worked, peak_mb()]))


def main() -> None:
    """Print a row of each job and size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("millions", nargs="*", type=int, default=SIZES)
    parser.add_argument("--steps", nargs="*", default=list(STEPS))
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--child")
    options = parser.parse_args()
    if options.child:
        return child(options.child, options.millions[0])
    before: dict[str, float] = {}
    print("| events | job | seconds | work | growth | peak MiB |", "| --- " * 6 + "|", sep="\n")
    for millions in options.millions:
        home = settings(f"large-{millions}m").home
        file = home.parent / f"{home.name}.parquet"
        if "import" in options.steps:
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)
            write_file(millions * MILLION, file)
        for name in options.steps:
            command = [sys.executable, "-m", __spec__.name, str(millions), "--child", name]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            took, work, peak = json.loads(done.stdout.splitlines()[-1])
            growth = f"{work / before[name]:.1f}" if name in before else ""
            before[name] = work
            row = f"| {millions} M | {name} | {took:.1f} | {work:.1f} | {growth} | {peak:,.0f} |"
            print(row, flush=True)
        if not options.keep:
            shutil.rmtree(home, ignore_errors=True)
            file.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
