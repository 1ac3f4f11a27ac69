"""Imports of generated events, 10 M here and 100 M in `make test-slow`.

Time grows in line with the events, memory does not grow.
"""

import shutil
from pathlib import Path
from statistics import median

from tests.benchmarks.measure import FOLDER, Figure, alone, in_turns, paired, peak_mb, settings

MOST_MB, ROUNDS = 8 * 1024, 3
MAP = """[events]
customer_id = "customer_id"
occurred_at = "occurred_at"
order_id    = "order_id"
item_id     = "item_id"
quantity    = "quantity"
amount      = "amount"
event_type  = { value = "purchase" }
"""


def generate(rows: int, path: Path) -> Path:
    """Write a Parquet file of so many purchases of two years.

    Three lines an order, a customer for every fifty lines, 5,000 items.
    """
    import duckdb

    path.parent.mkdir(parents=True, exist_ok=True)
    duckdb.connect().execute(
        f"COPY (SELECT (hash(i // 3) % {max(1, rows // 50)})::VARCHAR AS customer_id, "
        "'o' || (i // 3) AS order_id, (hash(i * 7) % 5000)::VARCHAR AS item_id, "
        "make_timestamp("
        f"1672531200000000 + (i // 3) * {3 * 63_072_000_000_000 // rows}) AS occurred_at, "
        "(1 + hash(i * 3) % 4)::INTEGER AS quantity, "
        "round((1 + hash(i * 7) % 5000) / 100 * (1 + hash(i * 3) % 4), 2) AS amount "
        f"FROM range({rows}) AS each(i)) TO '{path}' (FORMAT parquet)"
    )
    return path


def bring(file: Path, home: Path) -> int:
    """Import a generated file into an empty lake; how many events are there then."""
    from retention.lake import Lake
    from retention.lake.importing.import_files import import_files

    own = settings(str(home))
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    (home / "map.toml").write_text(MAP)
    return import_files(
        Lake.open(own), None, own, "events", [str(file)], home / "map.toml"
    ).rows_accepted


def volume() -> dict[str, Figure]:
    """Ten million events, and ten times one million in turns: what one costs is the same."""
    folder = FOLDER / "volume"
    few, many = (generate(rows, folder / f"{rows}.parquet") for rows in (1_000_000, 10_000_000))
    pairs = in_turns(
        lambda: bring(many, folder / "home"), lambda: bring(few, folder / "home"), times=ROUNDS
    )
    shutil.rmtree(folder, ignore_errors=True)
    return {
        "import_10m": alone(median(value for value, _ in pairs), "s"),
        "import_10m_growth": paired(pairs, "s", most=14),
        "import_10m_peak": alone(peak_mb(), "MiB", most=MOST_MB),
    }
