"""``python -m tests.faults``: break everything, count what is lost or doubled.

The last line is ``injections=N lost=N doubled=N hit=N``; the exit code is 1 if anything was lost or
doubled. ``--rows races,clocks --database sqlite --seed 3`` repeats a part of a run.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.faults import promises
from tests.faults.frame import POSTGRESQL, SQLITE, Counts, Row, table
from tests.faults.table import ROWS


def run(options: argparse.Namespace) -> dict[tuple[Row, str], tuple[Counts, float]]:
    """Run the chosen rows on the chosen databases, and tell when one has ended."""
    chosen = [
        (row, database)
        for database in options.database.split(",")
        for row in ROWS
        if database in row.databases and getattr(row, options.size)
        if not options.rows or row.module.rpartition(".")[2] in options.rows.split(",")
    ]

    commit = promises.commit()

    def count(place: tuple[Row, str]) -> tuple[Counts, float]:
        row, database = place
        counts, seconds = row.run(options.size, database, options.seed)
        print("\n".join(table({place: (counts, seconds)})[1:-1]), file=sys.stderr, flush=True)
        promises.remember(place, (counts, seconds), options.size, commit)
        return counts, seconds

    with ThreadPoolExecutor(options.at_once) as pool:
        return dict(zip(chosen, pool.map(count, chosen), strict=True))


def main(given: list[str]) -> int:
    """Run it; returns 0 where nothing was lost or doubled."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--size", choices=("ci", "part", "long"), default="part")
    parser.add_argument("--rows", default="", help="modules, such as races,clocks")
    parser.add_argument("--database", default=f"{SQLITE},{POSTGRESQL}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=2, help="rows at the same time")
    parser.add_argument(
        "--publish", action="store_true", help="write docs/promises.md, also from earlier parts"
    )
    options = parser.parse_args(given)
    results = run(options)
    lines = table(results)
    if options.publish:
        promises.publish(options.size)
    print("\n".join(lines))
    return int(any(counts.lost or counts.doubled for counts, _ in results.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
