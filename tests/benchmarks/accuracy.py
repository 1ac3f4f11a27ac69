"""``make accuracy``: measure the predictions for docs/data_scientist/accuracy.md.

This takes minutes, and no bound is a test here.

``python -m tests.benchmarks.accuracy [tuning] [reported] [cdnow] [shops] [gift_shops]``;
all but the tuning cutoffs when none is named. Look at the reported cutoffs to report, never to
choose.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from retention import clock
from retention.churn.evaluation.evaluate import Plan, evaluate
from retention.db import Database
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from retention.settings import Settings
from retention.window import Window
from tests import shops
from tests.benchmarks import gift_shops
from tests.benchmarks.measure import settings
from tests.benchmarks.models import home
from tests.databases import create_tables
from tests.retention.value.cdnow import FILES

TUNING = ("2017-08-28", "2017-09-25", "2017-10-23", "2017-11-20")
REPORTED = ("2017-08-14", "2017-09-11", "2017-10-09", "2017-11-06", "2017-12-04")
NAMES = ("auc", "pr_auc", "brier", "log_loss", "top_decile_lift", "ece", "empc")
SHOPS: tuple[tuple[Callable[[], pd.DataFrame], tuple[tuple[int, int, int | None], ...]], ...] = (
    (shops.gifts, ((600, 90, 180), (640, 90, 180), (702, 28, 56), (549, 181, None))),
    (shops.groceries, ((369, 28, 56), (397, 28, 56))),
    (shops.discs, ((450, 90, None), (364, 181, None))),
)  # (day of the shop, horizon, active within)


def journey(cutoffs: Sequence[str]) -> None:
    """Complete Journey, 28 days, active 56."""
    home()
    lake = Lake.open(settings())
    print(
        f"\n| Complete Journey | {' | '.join(NAMES)} "
        "| of chance (ECE) | best baseline (log-loss) | model |"
    )
    print(f"| --- | {'--- | ' * (len(NAMES) + 3)}")
    told = []
    for day in cutoffs:
        told.append(evaluate(lake, Plan(cutoff=_moment(day)))[0])
        print(_row(day, told[-1]), flush=True)
    mean = {name: float(np.mean([result["metrics"][name] for result in told])) for name in NAMES}
    print(f"| **mean** | {' | '.join(f'**{mean[name]:.4f}**' for name in NAMES)} | | | |")


def cdnow() -> None:
    """All 23,570 customers, everyone ever seen, 181 days from 1998-01-01."""
    bought = pd.read_csv(
        FILES / "CDNOW_master.txt",
        sep=r"\s+",
        header=0,
        names=["id", "day", "discs", "amount"],
        index_col=False,
    )
    frame = pd.DataFrame(
        {
            "customer_id": bought.id.astype(str),
            "event_type": "purchase",
            "quantity": bought.discs,
            "occurred_at": pd.to_datetime(bought.day.astype(str)).dt.tz_localize("UTC"),
            "amount": bought.amount,
        }
    )
    _table("CDNOW", frame, [(_moment("1998-01-01"), 181, None)])


def made_up() -> None:
    """The shops of tests/shops.py."""
    for make, moments in SHOPS:
        asked = [
            (shops.BEGIN + timedelta(days=day), horizon, within) for day, horizon, within in moments
        ]
        _table(make.__name__, make(), asked)


def _table(
    name: str, frame: pd.DataFrame, asked: Sequence[tuple[datetime, int, int | None]]
) -> None:
    print(
        f"\n| {name} | {' | '.join(NAMES)} | of chance (ECE) | best baseline (log-loss) | model |"
    )
    print(f"| --- | {'--- | ' * (len(NAMES) + 3)}")
    with _lake(frame) as lake:
        for cutoff, horizon, within in asked:
            told, _ = evaluate(lake, Plan(cutoff=cutoff, window=Window(horizon, within)))
            print(_row(f"{cutoff:%Y-%m-%d}, {horizon} d, {within or 'ever'}", told), flush=True)


def _row(what: str, told: dict[str, Any]) -> str:
    figures = " | ".join(f"{told['metrics'][name]:.4f}" for name in NAMES)
    best = min(told["baselines"], key=lambda name: told["baselines"][name]["log_loss"])
    beside = f"{told['baselines'][best]['log_loss']:.4f} ({best})"
    return f"| {what} | {figures} | {told['ece_by_chance']:.4f} | {beside} | {told['model']} |"


@contextmanager
def _lake(frame: pd.DataFrame) -> Iterator[Lake]:
    """A lake of these events alone."""
    with tempfile.TemporaryDirectory(prefix="accuracy-") as folder:
        place = Settings(home=Path(folder) / "home", _env_file=None)
        database = Database.of(place)
        create_tables(database)
        lake = Lake.open(place)
        frame.to_parquet(Path(folder) / "events.parquet")
        import_files(lake, database, place, "events", [str(Path(folder) / "events.parquet")])
        yield lake
        database.dispose()
        clock.configure()  # business time came from the database that is gone


def _moment(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


PARTS: dict[str, Callable[[], None]] = {
    "tuning": lambda: journey(TUNING),
    "reported": lambda: journey(REPORTED),
    "cdnow": cdnow,
    "shops": made_up,
    "gift_shops": gift_shops.main,
}

if __name__ == "__main__":
    if unknown := set(sys.argv[1:]) - set(PARTS):
        sys.exit(f"There is no part {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}.")
    for part in sys.argv[1:] or [name for name in PARTS if name != "tuning"]:
        PARTS[part]()
