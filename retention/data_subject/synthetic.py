"""Make up a shop with the statistics of the real one and none of its customers.

It knows the real shop only by counts of groups with at least `MIN_GROUP` customers, or orders for
what an order is like. No row of a customer is copied, changed or drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from retention.errors import TooLittleData
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake import Lake

MIN_GROUP = 10
MIN_CUSTOMERS = 20 * MIN_GROUP
_DAY = 86_400.0
_QUANTILES = np.linspace(0.05, 0.95, 19)  # no extreme, which would be one customer's
_COLUMNS = ("customer_id", "order_id", "occurred_at", "item_id", "quantity", "amount", "currency")


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of values in bins that each hold at least so many customers or orders."""

    edges: np.ndarray
    counts: np.ndarray
    is_whole: bool = False

    @classmethod
    def of(cls, values: Sequence[float], least: int = MIN_GROUP, bins: int = 40) -> "Histogram":
        """Count values; a bin is as narrow as the smallest group allows."""
        ordered = np.sort(np.asarray(values, dtype=float))
        parts = max(1, min(bins, len(ordered) // least))
        edges = np.unique(np.quantile(ordered, np.linspace(0, 1, parts + 1)))
        # The outermost values are one customer's.
        low, high = np.quantile(ordered, [0.01, 0.99])
        edges = np.unique(np.clip(edges, low, high))
        if len(edges) < 2:
            edges = np.array([low, high + 1e-9])
        counts, _ = np.histogram(np.clip(ordered, edges[0], edges[-1]), edges)
        return cls(edges, counts)

    @classmethod
    def of_whole(cls, values: Sequence[float], least: int = MIN_GROUP) -> "Histogram":
        """Count whole numbers; a rare number shares a bin with the next ones."""
        numbers = np.rint(np.asarray(values, dtype=float))
        numbers = np.minimum(numbers, np.quantile(numbers, 0.99, method="lower"))
        edges, counts, waiting = [numbers.min()], list[int](), 0
        for number, count in zip(*np.unique(numbers, return_counts=True), strict=True):
            waiting += int(count)
            if waiting >= least:
                edges.append(number + 1)
                counts.append(waiting)
                waiting = 0
        if waiting and counts:  # the largest numbers share the last bin
            counts[-1] += waiting
            edges[-1] = numbers.max() + 1
        return cls(np.array(edges), np.array(counts), is_whole=True)

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Draw values: a bin by its count, then any place within it."""
        chosen = rng.choice(len(self.counts), size, p=self.counts / self.counts.sum())
        low, high = self.edges[chosen], self.edges[chosen + 1]
        drawn = low + rng.random(size) * (high - low)
        return np.floor(drawn) if self.is_whole else drawn


@dataclass(frozen=True, slots=True)
class Statistics:
    """All that the made-up shop knows of the real one."""

    customers: int
    first_days: Histogram  # since the first order of the shop
    rhythms: list[tuple[float, Histogram]]  # groups of customers: share, mean gaps in days
    orders: list[Histogram]  # of each group: number of orders
    spread: np.ndarray  # quantiles of a gap as a multiple of the customer's mean
    weekdays: np.ndarray
    hours: np.ndarray
    lines: Histogram  # of an order
    quantities: Histogram
    items: pd.DataFrame  # item, group of goods, price, weight
    loyalty: float  # share of lines in the customer's first group of goods
    days: float  # from the first order to the last
    begin: pd.Timestamp
    currency: str


def purchases(lake: "Lake") -> pd.DataFrame:
    """Return the shop's order lines; a line without an order id belongs to the day's order."""
    events = lake.table("events")
    lines = events.filter(events.event_type == "purchase").select(*_COLUMNS).execute()
    day = lines.customer_id + "/" + lines.occurred_at.dt.floor("D").astype(str)
    return lines.assign(order_id=lines.order_id.astype(object).where(lines.order_id.notna(), day))


def goods_of(lake: "Lake") -> pd.Series:
    """Return the category of each item; missing for items without one."""
    items = lake.table("items").select("item_id", "category").execute()
    return items.set_index("item_id")["category"]


def statistics(lines: pd.DataFrame, goods: pd.Series, least: int = MIN_CUSTOMERS) -> Statistics:
    """Count groups of the shop's customers, orders and items.

    Raises `TooLittleData`: the shop has too few customers.
    """
    orders = order_table(lines)
    people = customer_table(orders)
    if len(people) < least:
        text = gettext(
            "{customers} customers have ordered; {least} are needed, so that no group of the "
            "made-up shop is small enough to tell who is in it."
        )
        raise TooLittleData(text.format(customers=len(people), least=least))
    begin = orders["at"].min().floor("D")
    repeated = people[people.orders > 1]
    by_gap = repeated.sort_values("gap")
    pieces = np.array_split(np.arange(len(by_gap)), max(1, min(8, len(by_gap) // 50)))
    parts = [by_gap.iloc[piece] for piece in pieces if len(piece)]
    once = len(people) - len(repeated)
    rhythms = [(len(part) / len(people), Histogram.of(part.gap)) for part in parts]
    counts = [Histogram.of_whole(part.orders) for part in parts]
    if once >= MIN_GROUP:
        rhythms.append((once / len(people), Histogram(np.array([1.0, 1.1]), np.array([1]))))
        counts.append(Histogram(np.array([1.0, 2.0]), np.array([1]), is_whole=True))
    gaps = (orders.gap / orders.customer_id.map(people.gap)).dropna()
    return Statistics(
        customers=len(people),
        first_days=Histogram.of((people["first"] - begin).dt.total_seconds() / _DAY),
        rhythms=rhythms,
        orders=counts,
        spread=np.quantile(gaps, _QUANTILES) if len(gaps) else np.ones(2),
        weekdays=_shares(orders["at"].dt.dayofweek, 7),
        hours=_shares(orders["at"].dt.hour, 24),
        lines=Histogram.of_whole(orders.lines),
        quantities=Histogram.of_whole(lines.quantity.fillna(1).clip(lower=1)),
        items=_items(lines, goods),
        loyalty=_loyalty(lines, goods),
        days=(orders["at"].max() - begin).total_seconds() / _DAY,
        begin=begin,
        currency=str(lines.currency.mode().iloc[0]) if lines.currency.notna().any() else "",
    )


def order_table(lines: pd.DataFrame) -> pd.DataFrame:
    """Return one row per order, by customer and time, with the days since the one before."""
    orders = lines.groupby(["customer_id", "order_id"], sort=False).agg(
        at=("occurred_at", "max"), lines=("occurred_at", "size"), amount=("amount", "sum")
    )
    orders = orders.reset_index().sort_values(["customer_id", "at"])
    gap = orders.groupby("customer_id")["at"].diff().dt.total_seconds() / _DAY
    return orders.assign(gap=gap)


def customer_table(orders: pd.DataFrame) -> pd.DataFrame:
    """Return one row per customer: orders, first order, mean gap, lines and amount of an order."""
    return orders.groupby("customer_id").agg(
        orders=("at", "size"),
        first=("at", "min"),
        last=("at", "max"),
        gap=("gap", "mean"),
        lines=("lines", "mean"),
        amount=("amount", "mean"),
    )


def make_up(known: Statistics, customers: int, seed: int) -> dict[str, pd.DataFrame]:
    """Return the tables ``events``, ``customers`` and ``items`` of a made-up shop."""
    rng = np.random.default_rng(seed)
    shares = np.array([share for share, _ in known.rhythms])
    group = rng.choice(len(shares), customers, p=shares / shares.sum())
    gap, number = np.empty(customers), np.empty(customers)
    for place, ((_, gaps), orders) in enumerate(zip(known.rhythms, known.orders, strict=True)):
        own = np.flatnonzero(group == place)
        gap[own], number[own] = gaps.draw(rng, len(own)), orders.draw(rng, len(own))
    first = known.first_days.draw(rng, customers)
    orders = _order_times(known, rng, first, gap, np.rint(number).astype(int).clip(1))
    lines = _lines(known, rng, orders, customers)
    ids = np.array([f"made-up-{place + 1:06d}" for place in range(customers)])
    lines.insert(0, "customer_id", ids[lines.pop("customer")])
    people = pd.DataFrame({"customer_id": ids})
    return {
        "events": lines,
        "customers": people.assign(
            email=people.customer_id + "@example.com",
            name=[f"Made-up customer {place + 1}" for place in range(customers)],
            marketing_consent=rng.random(customers) < 0.8,
        ),
        "items": known.items[["item_id", "title", "category", "price"]],
    }


def _order_times(
    known: Statistics, rng: np.random.Generator, first: np.ndarray, gap: np.ndarray, n: np.ndarray
) -> pd.DataFrame:
    customer = np.repeat(np.arange(len(n)), n)
    is_first = np.r_[True, customer[1:] != customer[:-1]]
    spread = known.spread / known.spread.mean()
    multiple = np.interp(rng.random(len(customer)), np.linspace(0, 1, len(spread)), spread)
    step = np.where(is_first, first[customer], gap[customer] * multiple)
    total = np.cumsum(step)
    day = total - np.repeat((total - step)[is_first], n)
    orders = pd.DataFrame({"customer": customer, "day": np.floor(day)})
    orders = orders[orders.day <= known.days]
    # The nearest day with the weekday of the real shop's orders, at one of its hours.
    weekday = rng.choice(7, len(orders), p=known.weekdays)
    today = (known.begin.dayofweek + orders.day.to_numpy().astype(int)) % 7
    shift = (weekday - today + 3) % 7 - 3
    hour = rng.choice(24, len(orders), p=known.hours) + rng.random(len(orders))
    moved = (orders.day + shift).clip(0, known.days) + hour / 24
    at = known.begin + pd.to_timedelta(moved, unit="D")
    return orders.assign(occurred_at=at.dt.floor("s")).reset_index(drop=True)


def _lines(
    known: Statistics, rng: np.random.Generator, orders: pd.DataFrame, customers: int
) -> pd.DataFrame:
    sizes = np.rint(known.lines.draw(rng, len(orders))).astype(int).clip(1)
    place = np.repeat(np.arange(len(orders)), sizes)
    items, weight = known.items, known.items.weight.to_numpy()
    share = items.groupby("category").weight.sum()
    favourite = rng.choice(share.index, customers, p=share / share.sum())
    customer = orders.customer.to_numpy()[place]
    chosen = rng.choice(len(items), len(place), p=weight / weight.sum())
    is_loyal = rng.random(len(place)) < known.loyalty
    for goods, of_goods in items.groupby("category"):
        own = np.flatnonzero(is_loyal & (favourite[customer] == goods))
        p = of_goods.weight / of_goods.weight.sum()
        chosen[own] = rng.choice(of_goods.index, len(own), p=p)
    quantity = np.rint(known.quantities.draw(rng, len(place))).clip(1)
    price = items.price.to_numpy()[chosen]
    return pd.DataFrame(
        {
            "customer": customer,
            "event_type": "purchase",
            "occurred_at": orders.occurred_at.to_numpy()[place],
            "order_id": [f"made-up-order-{each + 1}" for each in place],
            "item_id": items.item_id.to_numpy()[chosen],
            "quantity": quantity,
            "amount": np.round(price * quantity * rng.uniform(0.9, 1.1, len(place)), 2),
            "currency": known.currency,
        }
    )


def _items(lines: pd.DataFrame, goods: pd.Series) -> pd.DataFrame:
    """Return items under made-up names that enough customers bought, with price and popularity."""
    unit = lines.amount / lines.quantity.where(lines.quantity > 0, 1)
    known = (
        lines.assign(unit=unit)
        .groupby("item_id")
        .agg(
            buyers=("customer_id", "nunique"),
            weight=("customer_id", "size"),
            price=("unit", "median"),
        )
    )
    known = known[known.buyers >= MIN_GROUP].sort_values("weight", ascending=False)
    if known.empty:
        raise TooLittleData(
            gettext("No item was bought by {least} customers or more.").format(least=MIN_GROUP)
        )
    codes = goods.reindex(known.index).astype("category").cat.codes.to_numpy()
    numbers = np.arange(1, len(known) + 1)
    return pd.DataFrame(
        {
            "item_id": [f"made-up-item-{number:05d}" for number in numbers],
            "title": [f"Made-up item {number}" for number in numbers],
            "category": [f"Goods {code + 1}" if code >= 0 else "Other goods" for code in codes],
            "price": np.round(known.price.fillna(0).to_numpy(), 1),
            "weight": known.weight.to_numpy(),
        }
    )


def _loyalty(lines: pd.DataFrame, goods: pd.Series) -> float:
    """Return the mean share of the first group of goods in a customer's lines, beyond chance."""
    named = lines.assign(goods=lines.item_id.map(goods)).dropna(subset=["goods"])
    counts = named.groupby(["customer_id", "goods"]).size()
    many = counts.groupby("customer_id").sum()
    top = (counts.groupby("customer_id").max() / many)[many >= 5]
    if len(top) < MIN_GROUP:
        return 0.0
    base = named.goods.value_counts(normalize=True).max()
    return float(np.clip((top.mean() - base) / max(1 - base, 1e-9), 0, 1))


def _shares(values: pd.Series, size: int) -> np.ndarray:
    counts: Any = np.bincount(values, minlength=size)
    counts = np.where(counts >= MIN_GROUP, counts, 0)  # a rare hour is one customer's
    return counts / counts.sum() if counts.sum() else np.full(size, 1 / size)
