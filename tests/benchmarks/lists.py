"""Share of the lost margin that a list catches, against RFM scores and recency at the same size.

    python -m tests.benchmarks.lists events.csv …      # customer_id, occurred_at, amount, order_id
    python -m tests.benchmarks.lists --made-up 10      # of each shape of `made_up_shops`

The label window is the newest complete horizon, and no model sees it.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd

import retention
from retention.churn.lost_margin import lost_spend, usual_spend
from retention.churn.model import train
from retention.churn.population import buyers
from retention.errors import BadInput, TooLittleData
from retention.risk.policy import Policy
from retention.risk.sweep import sweep
from retention.window import Window
from tests.benchmarks import made_up_shops

DRAWS = 500
OTHERS = ("rfm", "rfm at risk", "recent", "oldest")


@dataclass(frozen=True)
class Caught:
    """Shares of all lost margin by list, and draws of the differences from ours."""

    shop: str
    model: str
    order_by: str
    horizon: int
    scored: int
    size: int
    shares: dict[str, float]
    draws: dict[str, np.ndarray]

    def row(self) -> str:
        """Return the row of a Markdown table."""
        shares = " | ".join(f"{share:.3f}" for share in self.shares.values())
        gaps = " | ".join(_interval(self.draws[name]) for name in OTHERS)
        return (
            f"| {self.shop} | {self.model} | {self.order_by} | {self.horizon} | {self.scored:,} "
            f"| {self.size} | {shares} | {gaps} |"
        )


def measure(name: str, events: pd.DataFrame) -> Caught:
    """Make a list one horizon before the end, and see what became of its customers."""
    shop = retention.Shop.from_frames(events, verbose=False)
    lake, horizon, within = shop._data.lake, shop.horizon_days, shop.active_within_days
    end = pd.to_datetime(events.occurred_at, utc=True).max().to_pydatetime() + timedelta(days=1)
    cutoff = end - timedelta(days=horizon)
    window = Window(horizon, within)
    try:
        trained = train(lake, cutoff=cutoff, window=window)
    except (BadInput, TooLittleData):
        trained = None
    swept = sweep(lake, trained, Policy(), as_of=cutoff, window=window)
    people = buyers(lake, cutoff, window=window)
    spent = _spent(events, cutoff, end, priced=people.spend is not None)
    realised = people.frame.customer_id.map(spent).fillna(0).to_numpy(dtype=float)
    lost = lost_spend(usual_spend(people, horizon), realised)
    listed = {"list": people.frame.customer_id.isin(swept.cohort.customer_id).to_numpy()}
    size = int(listed["list"].sum())
    for other, score in _scores(people.frame).items():
        mask = np.zeros(len(score), dtype=bool)
        mask[np.argsort(-score, kind="stable")[:size]] = True
        listed[other] = mask
    weights = np.random.default_rng(1).poisson(1, (DRAWS, len(lost))) * lost
    total = np.maximum(weights.sum(axis=1), 1e-9)
    caught = {key: weights @ mask / total for key, mask in listed.items()}
    return Caught(
        name,
        trained.estimator if trained else "rules",
        swept.order_by,
        horizon,
        len(people.frame),
        size,
        {key: float(lost[mask].sum() / max(lost.sum(), 1e-9)) for key, mask in listed.items()},
        {key: caught["list"] - caught[key] for key in OTHERS},
    )


def _spent(events: pd.DataFrame, start: object, end: object, *, priced: bool) -> pd.Series:
    at = pd.to_datetime(events.occurred_at, utc=True)
    window = events.assign(day=at.dt.floor("D"))[(at >= start) & (at < end)]
    customers = window.groupby("customer_id")
    return customers.amount.sum() if priced else customers.day.nunique()


def _scores(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return what orders the other lists; equal customers in a random order."""
    rng = np.random.default_rng(0)
    tie = 1e-6 * rng.random(len(frame))
    recent, often, much = (
        np.ceil(5 * values.rank(pct=True)).to_numpy(dtype=float)
        for values in (-frame.recency_days, frame.order_days, frame.spend_all)
    )
    silence = frame.recency_days.to_numpy(dtype=float)
    return {
        "rfm": recent + often + much + tie,
        "rfm at risk": (6 - recent) + often + much + tie,
        "recent": -silence + tie,
        "oldest": silence + tie,
    }


def _interval(draws: np.ndarray) -> str:
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{draws.mean():+.3f} ({low:+.3f} … {high:+.3f})"


def pooled(results: list[Caught], other: str) -> np.ndarray:
    """Draw the mean difference over shops, with shops and customers drawn anew."""
    rng = np.random.default_rng(2)
    draws = np.array([result.draws[other] for result in results])
    shops = rng.integers(0, len(results), (DRAWS, len(results)))
    return np.array([draws[shops[draw], draw].mean() for draw in range(DRAWS)])


def read(path: Path) -> pd.DataFrame:
    """Read canonical columns from a CSV file."""
    events = pd.read_csv(path, dtype={"customer_id": str, "order_id": str})
    return events.assign(event_type="purchase", occurred_at=pd.to_datetime(events.occurred_at))


def _shops(files: list[Path], per_shape: int) -> Iterator[tuple[str, pd.DataFrame]]:
    for path in files:
        yield path.stem, read(path)
    if per_shape:
        yield from made_up_shops.shops(per_shape)


def main() -> None:
    """Print a row of each shop, and the pooled differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--made-up", type=int, default=0, metavar="N")
    options = parser.parse_args()
    gaps = " | ".join(f"list − {other}" for other in OTHERS)
    names = " | ".join(("shop", "model", "order", "horizon", "scored", "list", "ours", *OTHERS))
    head = f"| {names} | {gaps} |"
    print(head, "| --- " * head.count(" | ") + "| --- |", sep="\n")
    results = []
    for name, events in _shops(options.files, options.made_up):
        results.append(measure(name, events))
        print(results[-1].row(), flush=True)
    for other in OTHERS:
        print(f"\nlist − {other}, all shops: {_interval(pooled(results, other))}")


if __name__ == "__main__":
    main()
