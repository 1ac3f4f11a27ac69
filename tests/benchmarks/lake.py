"""Import against DuckDB's own copy of the same file; features against a bare scan of the same columns."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import FOLDER, Figure, against, alone, in_turns, peak_mb, seconds, settings

CUTOFF = datetime(2017, 12, 5, tzinfo=UTC)
REPEATS = 5


def imports() -> dict[str, Figure]:
    """The 1.47 million purchases of the Complete Journey, into an empty lake; then the same file again."""
    import duckdb

    from retention.demo import extracts

    file = extracts.data("transactions")
    target = FOLDER / "copy.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    bare = duckdb.connect()
    copying = f"COPY (SELECT * FROM read_parquet('{file}')) TO '{target}' (FORMAT parquet)"
    rows = bare.execute(f"SELECT count(*) FROM read_parquet('{file}')").fetchall()[0][0]
    bare.execute(copying).fetchall()
    homes = [_home(f"import-{number}") for number in range(REPEATS)]
    empty = iter(homes)
    value, peer = in_turns(
        lambda: _import(next(empty), file), lambda: bare.execute(copying).fetchall(), times=REPEATS
    )
    bare.close()
    again = seconds(lambda: _import(homes[0], file))
    for home in homes:
        shutil.rmtree(home.home)
    target.unlink()
    return {
        "import": against(value, "s", peer, most=4),
        "import_rate": alone(rows / value, "rows/s"),
        "import_again": alone(again, "s"),
        "import_peak": alone(peak_mb(), "MiB"),
    }


def _home(name: str) -> Any:
    """An empty home of this name, with its database."""
    from retention.db.migrate import upgrade

    home = settings(name)
    shutil.rmtree(home.home, ignore_errors=True)
    upgrade(home)
    return home


def _import(home: Any, file: Path) -> None:
    from retention.db import Database
    from retention.demo import extracts
    from retention.lake import Lake
    from retention.lake.importing import import_files

    database = Database.of(home)
    report = import_files(
        Lake.open(home), database, home, "events", [str(file)], extracts.MAPS / "events.toml"
    )
    database.dispose()
    assert report.rows_accepted + report.rows_duplicate + report.rows_quarantined == report.rows_read
    assert report.rows_quarantined <= report.rows_read / 1000


def features() -> dict[str, Figure]:
    """All features of all customers at one cutoff, as the training reads them."""
    from deltalake import DeltaTable

    from retention.features import build
    from retention.lake import Lake

    lake = Lake.open(settings())
    files = DeltaTable(lake.root / "events").file_uris()
    read = ("customer_id", "event_type", "order_id", "item_id", "amount", "discount", "occurred_at")
    scan = (
        f"SELECT {', '.join(f'max({column})' for column in read)} FROM read_parquet({files!r}) "
        f"WHERE occurred_at < TIMESTAMPTZ '{CUTOFF.isoformat()}'"
    )
    rows = len(build(lake, CUTOFF).execute())
    lake.duckdb.execute(scan).fetchall()
    value, peer = in_turns(
        lambda: build(lake, CUTOFF).execute(), lambda: lake.duckdb.execute(scan).fetchall(), times=4 * REPEATS
    )
    return {
        "features": against(value, "s", peer, most=6),
        "features_customers": alone(rows, "customers"),
        "features_peak": alone(peak_mb(), "MiB"),
    }
