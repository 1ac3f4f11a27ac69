"""Measure the lake in a folder and on an S3 server of this machine; prints the table of its page.

    python -m tests.benchmarks.object_store

Needs the extra ``s3``; takes two minutes. A store in a network is slower.
"""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import pandas as pd

from retention.db import Database
from retention.db.migrate import upgrade
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from retention.settings import Settings
from tests import s3
from tests.postgres import postgres

ROWS, TIMES = 500_000, 5


def _write_rows(path: Path) -> None:
    rng = np.random.default_rng(0)
    seconds = np.sort(rng.integers(0, 365 * 86_400, ROWS))
    pd.DataFrame(
        {
            "customer_id": rng.integers(0, 20_000, ROWS).astype(str),
            "event_type": "purchase",
            "occurred_at": pd.Timestamp("2025-01-01") + pd.to_timedelta(seconds, "s"),
            "order_id": np.arange(ROWS).astype(str),
            "item_id": rng.integers(0, 2_000, ROWS).astype(str),
            "quantity": 1,
            "amount": rng.integers(1, 100, ROWS).astype(float),
        }
    ).to_parquet(path, index=False)


def _seconds(action) -> float:
    started = perf_counter()
    action()
    return perf_counter() - started


def _total(settings: Settings) -> None:
    Lake.open(settings).table("events").amount.sum().execute()


def measure(settings: Settings, file: Path) -> dict[str, float]:
    """Return seconds of an import, of the first read of a host, and the median of later ones."""
    upgrade(settings)
    database = Database.of(settings)
    other = settings.model_copy(update={"home": settings.home.with_name("other")})
    lake = Lake.open(settings)
    took = {"import": _seconds(lambda: _import(lake, database, settings, file))}
    took["first"] = _seconds(lambda: _total(other))
    took["later"] = float(np.median([_seconds(lambda: _total(other)) for _ in range(TIMES)]))
    database.dispose()
    return took


def _import(lake: Lake, database: Database, settings: Settings, file: Path) -> None:
    import_files(lake, database, settings, "events", [str(file)])


def main() -> None:
    with TemporaryDirectory() as folder, s3.server() as address, postgres() as url:
        file = Path(folder) / "rows.parquet"
        _write_rows(file)
        shared = {"database_url": url, "secret_key": "k" * 64, "_env_file": None}
        local = Settings(home=Path(folder) / "local", **shared)
        s3.make_bucket(address, "desk")
        os.environ.update(s3.environment(address))
        store = Settings(home=Path(folder) / "store", lake_url="duckdb+s3://desk/a", **shared)
        warm = Settings(home=Path(folder) / "warm", **shared)
        measure(warm, file)  # loads the libraries
        print(json.dumps({"folder": measure(local, file), "store": measure(store, file)}, indent=1))


if __name__ == "__main__":
    main()
