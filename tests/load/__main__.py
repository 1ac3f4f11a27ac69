"""``python -m tests.load``: people type commands for half an hour, then ten times as many.

The last line is ``commands=N errors=N shed=N lost=N``. The exit code is 1 if a promise of
docs/operator/load.md is broken.
"""

import argparse
import asyncio
import json
import platform
import sys
import time
from datetime import date

import psutil

from bot.playground import seed
from tests.faults.frame import POSTGRESQL, SQLITE, on_database
from tests.faults.promises import commit
from tests.load import page
from tests.load.desk import running_desk
from tests.load.judging import AFTER, STEADY, TENFOLD, Run, verdicts
from tests.load.mix import Mix
from tests.load.traffic import ERROR, LATE, PROMISED, REFUSED, SHED, Phase, Traffic

RATE, TIMES = 20.0, 10
WARM = "warm"
SIZES = {  # seconds of warming up, steady load, tenfold load, and after it
    "long": (120, 1800, 120, 600),
    "short": (30, 120, 20, 90),
}
SETTLING = 300.0  # seconds for all jobs and posts to end


def measure(options: argparse.Namespace) -> Run:
    """Run a desk under load, and store the measurements."""
    sizes = SIZES[options.size]
    rates = (options.rate, options.rate, options.rate * TIMES, options.rate)
    names = (WARM, STEADY, TENFOLD, AFTER)
    phases = [Phase(*each) for each in zip(names, rates, sizes, strict=True)]
    about = {"commit": commit(), "date": f"{date.today():%-d %B %Y}", "machine": _machine()}
    about |= {"size": options.size, "database": options.database}
    with on_database(options.database), running_desk() as desk:
        traffic = Traffic(
            desk.settings.port, seed.SIGNING_SECRET, Mix(desk.customers, options.seed)
        )
        print(f"typing for {sum(sizes) / 60:.0f} minutes", file=sys.stderr, flush=True)
        began = time.monotonic()
        with desk.sampled(began):
            asyncio.run(traffic.run(phases, began))
        lost = [] if desk.settle(SETTLING) else ["something is still under way"]
        lost += desk.losses([each.trigger for each in traffic.typed if each.kind == PROMISED])
    run = Run(about, phases, sorted(traffic.typed, key=lambda each: each.due), desk.samples, lost)
    page.RESULTS.mkdir(parents=True, exist_ok=True)
    file = page.RESULTS / f"{options.size}-{options.database}.json"
    file.write_text(json.dumps(run.to_json()), encoding="utf-8")
    return run


def _machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{psutil.cpu_count()} cores, {memory:.0f} GiB, Linux, Python {platform.python_version()}"
    )


def main(given: list[str]) -> int:
    """Run it; returns 0 if every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--size", choices=tuple(SIZES), default="long")
    parser.add_argument("--database", choices=(SQLITE, POSTGRESQL), default=SQLITE)
    parser.add_argument("--rate", type=float, default=RATE, help="commands a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--again", metavar="FILE", help="judge a stored run of build/load")
    parser.add_argument("--publish", action="store_true", help="write docs/operator/load.md")
    options = parser.parse_args(given)
    if options.again:
        with open(options.again, encoding="utf-8") as file:
            run = Run.from_json(json.load(file))
    else:
        run = measure(options)
    found = verdicts(run)
    if options.publish:
        page.publish(run)
    noted = [f"{each.kind} {each.text}: {each.note}" for each in run.typed if each.note]
    print("\n".join([*page.table(found), *run.lost[:10], *noted[:10]]))
    wrong = sum(each.kind in (ERROR, LATE, REFUSED) for each in run.typed)
    shed = sum(each.kind == SHED for each in run.typed)
    print(f"commands={len(run.typed)} errors={wrong} shed={shed} lost={len(run.lost)}")
    return int(not all(each.kept for each in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
