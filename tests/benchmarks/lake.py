"""Import beside DuckDB's own copy of the file; features beside a bare scan of the columns."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from retention.window import Window
from tests.benchmarks import peers
from tests.benchmarks.measure import (
    FOLDER,
    Figure,
    alone,
    in_turns,
    paired,
    peak_mb,
    seconds,
    settings,
)

if TYPE_CHECKING:
    from retention.lake import Lake

CUTOFF = datetime(2017, 12, 5, tzinfo=UTC)
REPEATS = 5


def imports() -> dict[str, Figure]:
    """Import the Complete Journey's 1.47 million purchases, then the same file again.

    The lake is empty at first.
    """
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
    pairs = in_turns(
        lambda: _import(next(empty), file), lambda: bare.execute(copying).fetchall(), times=REPEATS
    )
    bare.close()
    again = seconds(lambda: _import(homes[0], file))
    for home in homes:
        shutil.rmtree(home.home)
    target.unlink()
    return {
        "import": paired(pairs, "s", most=5.6),
        "import_rate": alone(rows / median(value for value, _ in pairs), "rows/s"),
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
    from retention.lake.importing.import_files import import_files

    database = Database.of(home)
    report = import_files(
        Lake.open(home), database, home, "events", [str(file)], extracts.MAPS / "events.toml"
    )
    database.dispose()
    assert (
        report.rows_accepted + report.rows_duplicate + report.rows_quarantined == report.rows_read
    )
    assert report.rows_quarantined <= report.rows_read / 1000


H, ACTIVE = 28, 56


def features() -> dict[str, Figure]:
    """Compute eighteen features of all customers at one cutoff, then the whole catalogue.

    The peers are a bare scan, polars and pandas.
    """
    from retention.features import NAMES, build
    from retention.lake import Lake
    from retention.lake.storage.delta_store import to_frame

    lake = Lake.open(settings())
    files = [str(file) for file in sorted((lake.root / "events").glob("*/*.parquet"))]

    def core() -> Any:
        return to_frame(build(lake, CUTOFF, window=Window(H, ACTIVE), names=peers.CORE))

    def every() -> Any:
        return to_frame(build(lake, CUTOFF, window=Window(H, ACTIVE)))

    def polars() -> Any:
        return peers.in_polars(files, CUTOFF, H, ACTIVE)

    def pandas() -> Any:
        return peers.in_pandas(files, CUTOFF, H, ACTIVE)

    rows = core()
    _equal(rows, polars().to_pandas())
    _equal(rows, pandas())
    scan, scan_all = (
        _scan(lake, columns)
        for columns in (peers.READ, (*peers.READ, "rating", "duration_s", "channel"))
    )
    scan(), scan_all(), every()
    times = 4 * REPEATS
    beside_scan = in_turns(core, scan, times=times)
    beside_polars = in_turns(core, polars, times=times)
    beside_pandas = in_turns(core, pandas, times=REPEATS)
    whole = in_turns(every, scan_all, times=times)
    return {
        "features": paired(beside_scan, "s", most=5),
        "features_polars": paired(beside_polars, "s", most=1),
        "features_pandas": paired(beside_pandas, "s", most=0.37),
        "features_all": paired(whole, "s"),
        "features_count": alone(len(NAMES), "features"),
        "features_customers": alone(len(rows), "customers"),
        "features_peak": alone(peak_mb(), "MiB"),
    }


def _scan(lake: "Lake", columns: tuple[str, ...]) -> Callable[[], Any]:
    """DuckDB reads these columns of the events before the cutoff, and does nothing with them."""
    from deltalake import DeltaTable

    files = DeltaTable(lake.root / "events").file_uris()
    sql = (
        f"SELECT {', '.join(f'max({column})' for column in columns)} FROM read_parquet({files!r}) "
        f"WHERE occurred_at < TIMESTAMPTZ '{CUTOFF.isoformat()}'"
    )
    return lambda: lake.duckdb.execute(sql).fetchall()


def _equal(ours: Any, theirs: Any) -> None:
    """No peer is faster by computing something else."""
    import numpy as np

    ours, theirs = (frame.sort_values("customer_id") for frame in (ours, theirs))
    assert ours.customer_id.tolist() == theirs.customer_id.tolist()
    values = [
        frame[list(peers.CORE)].to_numpy(dtype=float, na_value=np.nan) for frame in (ours, theirs)
    ]
    np.testing.assert_allclose(*values, rtol=1e-6, atol=1e-6, equal_nan=True)
