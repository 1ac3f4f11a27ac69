"""Sixty made-up shops of six shapes, to measure models and lists on shops like them.

Ten of each shape, seeded: the same shops every time. Customers differ in rhythm, in basket and in
when they leave; a third of those who leave slow down before. No shop follows BG/NBD exactly.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

BEGIN = datetime(2022, 1, 1, tzinfo=UTC)
PER_SHAPE = 10
SLOWDOWN = 3.0  # factor of the gaps, in the last third of a life that slows down


@dataclass(frozen=True)
class Shape:
    """Ranges to draw a shop from.

    ``gap`` is in days, ``life`` in gaps. ``growth`` is the factor by which newcomers grow from the
    first day to the last.
    """

    customers: tuple[int, int]
    days: tuple[int, int]
    gap: tuple[float, float]
    life: tuple[float, float] = (6.0, 20.0)
    one_time: tuple[float, float] = (0.1, 0.4)
    growth: tuple[float, float] = (1.0, 1.5)


SHAPES = {
    "ordinary": Shape((500, 3_000), (500, 900), (15, 60)),
    "long rhythm": Shape((400, 2_500), (900, 1_500), (130, 300)),
    "nearly all leave": Shape(
        (3_000, 8_000), (400, 900), (40, 110), life=(2, 4), one_time=(0.85, 0.93)
    ),
    "one-time buyers": Shape((1_500, 5_000), (500, 1_000), (30, 90), one_time=(0.6, 0.8)),
    "growth": Shape((1_000, 4_000), (400, 800), (20, 70), growth=(8, 40)),
    "few returns": Shape((300, 3_000), (250, 500), (60, 150), one_time=(0.955, 0.985)),
}


def shops(per_shape: int = PER_SHAPE) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each shop's name and canonical events, by shape."""
    for place, (name, shape) in enumerate(SHAPES.items()):
        for number in range(per_shape):
            yield f"{name} {number + 1}", events(shape, seed=1_000 * (place + 1) + number)


def events(shape: Shape, seed: int) -> pd.DataFrame:
    """Draw a shop and its orders, one row each."""
    rng = np.random.default_rng(seed)
    customers, days = rng.integers(*shape.customers), int(rng.integers(*shape.days))
    gap, life = rng.uniform(*shape.gap), rng.uniform(*shape.life)
    joined = _joined(rng, customers, days, np.log(rng.uniform(*shape.growth)))
    own_gap = gap * np.exp(rng.normal(0, rng.uniform(0.3, 0.9), customers))
    lives = own_gap * rng.exponential(life, customers)
    lives[rng.random(customers) < rng.uniform(*shape.one_time)] = 0
    who, when = _orders(rng, joined, lives, own_gap, rng.uniform(1, 4), days)
    basket = np.exp(rng.normal(3.5, rng.uniform(0.3, 1.0), customers))
    amount = basket[who] * rng.gamma(4, 1 / 4, len(who)) + 1
    return pd.DataFrame(
        {
            "customer_id": [f"c{number:05d}" for number in who],
            "event_type": "purchase",
            "occurred_at": [BEGIN + timedelta(seconds=int(86_400 * day)) for day in when],
            "order_id": [f"o{number}" for number in range(len(who))],
            "item_id": [f"i{number:02d}" for number in rng.integers(0, 40, len(who))],
            "quantity": 1,
            "amount": np.round(amount, 2),
            "currency": "GBP",
            "source": "shop",
        }
    )


def _joined(rng: np.random.Generator, customers: int, days: int, growth: float) -> np.ndarray:
    """Draw first days from a density that grows by exp(growth); some customers came before."""
    share = rng.random(customers)
    day = share if growth < 1e-9 else np.log1p(share * np.expm1(growth)) / growth
    return np.where(
        rng.random(customers) < 0.2 / max(growth, 1), rng.random(customers) * 14, day * days
    )


def _orders(
    rng: np.random.Generator,
    joined: np.ndarray,
    lives: np.ndarray,
    own_gap: np.ndarray,
    regularity: float,
    days: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the customers and days of all orders, by customer.

    Gaps are gamma with shape ``regularity``. The first order is at ``joined``.
    """
    ends = np.minimum(joined + lives, days)
    most = int(np.ceil((np.maximum(ends - joined, 0) / own_gap).max() * 1.5)) + 12
    gaps = rng.gamma(regularity, 1 / regularity, (len(joined), most)) * own_gap[:, None]
    slows = (rng.random(len(joined)) < 1 / 3)[:, None]
    elapsed = np.cumsum(gaps, axis=1)
    late = slows & (elapsed > (2 / 3) * lives[:, None])
    at = joined[:, None] + np.cumsum(np.where(late, SLOWDOWN * gaps, gaps), axis=1)
    at = np.column_stack([joined, at])
    is_order = at < ends[:, None]
    is_order[:, 0] = True
    return np.nonzero(is_order)[0], at[is_order]


def main() -> None:
    """Print each shop's size, and what its rhythm asks for."""
    from retention.features.order_rhythm import derive_definition, rhythm_of_gaps

    print("| shop | customers | returning | orders | days | 80% of returns | horizon / active |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, frame in shops():
        days = frame.assign(day=frame.occurred_at.dt.floor("D"))[["customer_id", "day"]]
        days = days.drop_duplicates().sort_values(["customer_id", "day"])
        gaps = days.assign(gap=days.groupby("customer_id").day.diff().dt.days).dropna()
        counts = gaps.groupby(["customer_id", "gap"]).size().rename("count").reset_index()
        history = (days.day.max() - days.day.min()).days + 1
        rhythm = rhythm_of_gaps(counts, history)
        derived = derive_definition(rhythm)
        print(
            f"| {name} | {days.customer_id.nunique():,} | {rhythm.customers:,} | {len(frame):,} "
            f"| {history} | {rhythm.horizon:.0f} "
            f"| {derived.horizon_days} / {derived.active_within_days} {derived.limit} |"
        )


if __name__ == "__main__":
    main()
