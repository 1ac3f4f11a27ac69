"""Twelve small made-up shops of differing shape.

Buyers order by their own rhythm and stop at some time. A shop differs in rhythm, length, season and
in the columns that it records.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class MadeUpShop:
    """How a shop sells, what it records, and how its model is trained."""

    gap: float  # mean days between orders
    days: int
    horizon: int
    active_within: int | None
    columns: tuple[str, ...] = ("order_id", "item_id", "amount")
    customers: int = 260
    model: str = "logistic"
    others: tuple[str, ...] = ()  # types of events beside purchases
    season: Callable[[np.ndarray], np.ndarray] | None = None
    one_time: float = 0.2  # share that orders once
    lines: int = 4

    @property
    def end(self) -> datetime:
        """The first moment after the data."""
        return BEGIN + timedelta(days=self.days)

    def rows(self, seed: int = 5) -> pd.DataFrame:
        """Canonical rows, with the columns that the shop records.

        No row is there twice, because the import would drop it.
        """
        rng = np.random.default_rng(seed)
        orders = self._orders(rng)
        lines = orders.loc[orders.index.repeat(rng.integers(1, self.lines + 1, len(orders)))]
        lines = lines.reset_index(drop=True)
        # quarters of money: sums are exact, so they round the same in every order
        price = np.round(rng.gamma(3, 8, len(lines))) + 1
        off = np.where(rng.random(len(lines)) < 0.3, 0.25, 0.0)
        values = {
            "order_id": [f"o{number}" for number in lines.order],
            "item_id": [f"i{number:02d}" for number in rng.integers(0, 12, len(lines))],
            "amount": price * (1 - off),
            "discount": price * off,
            "channel": np.where(rng.random(len(lines)) < 0.5, "web", "store"),
        }
        columns = {
            "customer_id": [f"c{number:04d}" for number in lines.customer],
            "event_type": "purchase",
            "occurred_at": _moments(lines.day),
            **{name: values[name] for name in self.columns},
        }
        bought = pd.DataFrame(columns)
        rows = pd.concat([bought, *self._other_events(rng, bought)], ignore_index=True)
        told_apart = [name for name in rows if name not in ("discount", "channel")]
        return rows.drop_duplicates(told_apart, ignore_index=True)

    def _orders(self, rng: np.random.Generator) -> pd.DataFrame:
        joined = rng.uniform(0, self.days * 0.7, self.customers)
        own_gap = self.gap * rng.gamma(3, 1 / 3, self.customers) + 0.5
        stops = joined + rng.exponential(self.days * 0.8, self.customers)
        stops = np.where(rng.random(self.customers) < self.one_time, joined, stops)
        rows, order = [], 0
        for customer in range(self.customers):
            day = joined[customer]
            while day < min(self.days, max(stops[customer], joined[customer] + 0.01)):
                rows.append((customer, day, order))
                order += 1
                speed = self.season(np.array([day]))[0] if self.season else 1.0
                day += own_gap[customer] * rng.gamma(2, 0.5) / speed + 0.1
        return pd.DataFrame(rows, columns=["customer", "day", "order"])

    def _other_events(self, rng: np.random.Generator, bought: pd.DataFrame) -> list[pd.DataFrame]:
        """Events that come before or after some orders."""
        frames = []
        for kind in self.others:
            days = -rng.exponential(3, len(bought)) if kind in ("view", "cart") else 2.0
            at = bought.occurred_at + pd.to_timedelta(np.floor(days * 86_400), unit="s")
            mine = bought[["customer_id"]].assign(event_type=kind, occurred_at=at)
            mine = mine[(rng.random(len(bought)) < 0.4) & (at < self.end) & (at >= BEGIN)]
            frames.append(mine.drop_duplicates())
        return frames


def _moments(days: pd.Series) -> pd.Series:
    return pd.Timestamp(BEGIN) + pd.to_timedelta(np.floor(days * 86_400), unit="s")


def _christmas(day: np.ndarray) -> np.ndarray:
    return 0.7 + 2.5 * np.exp(-0.5 * ((day % 365.25 - 335) / 20) ** 2)


ITEMS = ("order_id", "item_id", "amount")
COUPONS = ("order_id", "amount", "discount")
ONLINE = ("view", "cart", "email_open", "support")
SHOPS = {
    "grocer": MadeUpShop(8, 200, 28, 56, (*ITEMS, "discount", "channel")),
    "superstore": MadeUpShop(129, 900, 90, 180, (*ITEMS, "discount")),
    "no items": MadeUpShop(15, 240, 28, 56, ("order_id", "amount"), lines=1),
    "no amounts": MadeUpShop(20, 300, 28, 90, ("order_id", "item_id")),
    "no discounts": MadeUpShop(20, 300, 28, None, ITEMS),
    "coffee machine": MadeUpShop(4, 120, 14, 28, ITEMS[1:], lines=1),
    "first hours": MadeUpShop(0.4, 8, 1, 2, ITEMS[1:], 160, others=ONLINE[:2], one_time=0.5),
    "seasonal gifts": MadeUpShop(70, 760, 90, None, season=_christmas, model="boosting"),
    "bare rows": MadeUpShop(25, 300, 28, 90, ()),
    "paid on delivery": MadeUpShop(60, 400, 56, None, others=("return",), one_time=0.6),
    "online only": MadeUpShop(18, 260, 28, 56, (*ITEMS, "channel"), others=ONLINE, model="stacked"),
    "coupons": MadeUpShop(25, 300, 28, 84, COUPONS, others=("coupon_redeem",), lines=1),
}
